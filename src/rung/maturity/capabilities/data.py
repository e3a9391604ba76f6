"""Data: versions instead of paths, cards, expectations that block, point-in-time training sets."""

from __future__ import annotations

from importlib.util import find_spec

from rung.core.errors import NotFound
from rung.data.records import GetDataset
from rung.maturity.capability import CAPABILITIES, NO_PRODUCTION, Found, each, failed, passed, row
from rung.maturity.snapshot import Snapshot
from rung.monitoring.sources import ask


def _datasets(snapshot: Snapshot) -> list[str]:
    return sorted({use.dataset for version in snapshot.served for use in version.datasets})


@CAPABILITIES.member("D01")
def gathered_by_pipeline(snapshot: Snapshot) -> Found:
    """Every dataset version behind a version in production was made by a service account, not uploaded by a person."""
    if not snapshot.served:
        return NO_PRODUCTION
    rows, names, missing = [], [], []
    for version in snapshot.served:
        for use in version.datasets:
            held = snapshot.dataset_version(use.dataset, use.number)
            names.append(f"{use.dataset}:{use.number}")
            if held is None or held.created_by != "engine":
                missing.append(names[-1])
            else:
                rows.append(row("dataset_version", names[-1], held.source))
    return (
        each(names, missing, "an origin in a pipeline", rows, window_days=90) if names else failed("A version in production names no data.")
    )


@CAPABILITIES.member("D02")
def data_versioned(snapshot: Snapshot) -> Found:
    """Every registered version names the dataset versions it was made from."""
    names = [f"{v.model}:{v.number}" for v in snapshot.versions]
    if not names:
        return Found(status="unknown", reason="No model version is registered.")
    missing = [f"{v.model}:{v.number}" for v in snapshot.versions if not v.datasets]
    rows = [row("dataset_version", f"{use.dataset}:{use.number}", use.role) for v in snapshot.versions for use in v.datasets]
    return each(names, missing, "named dataset versions", rows, window_days=90)


@CAPABILITIES.member("D03")
def data_catalogued(snapshot: Snapshot) -> Found:
    """At least 90 % of the datasets behind production have owner, source and description."""
    names = _datasets(snapshot)
    if not names:
        return NO_PRODUCTION
    whole = []
    for name in names:
        try:
            held = ask(snapshot.scope, GetDataset(dataset=name))
        except NotFound:
            continue
        whole += [held] if held.owner and held.source and held.description else []
    rows = [row("dataset", item.name, item.owner) for item in whole]
    told = f"{len(whole)} of {len(names)} datasets have owner, source and description."
    return (passed if len(whole) >= 0.9 * len(names) else failed)(told, rows)


@CAPABILITIES.member("D05")
def validation_blocks(snapshot: Snapshot) -> Found:
    """Datasets behind production have blocking expectations, and a version that broke one is on record."""
    names = _datasets(snapshot)
    missing = [name for name in names if not any(item.blocking for item in snapshot.expectations(name))]
    blocked = [entry for entry in snapshot.events if entry.kind == "data.validation_failed"]
    rows = [row("event", entry.id, str(entry.payload.get("dataset", ""))) for entry in blocked]
    found = each(names, missing, "blocking expectations", rows)
    if found.status == "pass" and not blocked:
        return failed("Expectations block, but none ever did: bring a version with bad data as a drill.")
    return found


@CAPABILITIES.member("F01")
def features_shared(snapshot: Snapshot) -> Found:
    """Every input of the versions in production comes from a registered view that was joined into its training set."""
    if not snapshot.served:
        return NO_PRODUCTION
    if find_spec("rung.features.operations") is None:
        return Found(status="unknown", reason="Training sets are not recorded here.")
    from rung.features.records import GetTrainingSet, GetView  # noqa: PLC0415 - see find_spec

    rows = []
    for version in snapshot.served:
        offered: set[str] = set()
        for use in version.datasets:
            try:
                made = ask(snapshot.scope, GetTrainingSet(dataset=use.dataset, number=use.number))
            except NotFound:
                continue
            for view in made.uses:
                held = ask(snapshot.scope, GetView(name=view.view, number=view.number)).view
                offered |= {feature.name for feature in held.features} | set(held.entity)
                rows.append(row("feature_view", f"{view.view}:{view.number}", f"{use.dataset}:{use.number}"))
        bare = [field.name for field in version.signature.inputs if field.name not in offered]
        if bare:
            return failed(f"Input {bare[0]!r} of {version.model}:{version.number} comes from no registered view.", rows)
    return passed("Every input comes from a registered feature view.", rows)
