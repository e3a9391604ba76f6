"""Pipelines and experiments: runs by their cause, complete metadata, tracked and reproducible training."""

from __future__ import annotations

from rung.maturity.capability import CAPABILITIES, NO_PRODUCTION, Found, each, failed, passed, row
from rung.maturity.records import EvidenceRow
from rung.maturity.snapshot import Snapshot
from rung.pipelines.records import PipelineRun

_MONTH, _QUARTER = 30, 90
_BY_HAND = {"manual", "reproduction"}


def _shown(runs: list[PipelineRun]) -> list[EvidenceRow]:
    return [row("pipeline_run", f"{run.pipeline}:{run.number}", run.cause.kind) for run in runs]


def _triggered(snapshot: Snapshot, days: int) -> list[PipelineRun]:
    first = snapshot.since(days)
    return [r for r in snapshot.pipeline_runs if r.status == "succeeded" and r.cause.kind not in _BY_HAND and r.created_at >= first]


def _trained(snapshot: Snapshot, runs: list[PipelineRun]) -> list[PipelineRun]:
    made = {version.pipeline_run_id for version in snapshot.versions}
    return [run for run in runs if run.id in made]


@CAPABILITIES.member("P01")
def runs_by_itself(snapshot: Snapshot) -> Found:
    """A pipeline run that nobody started trained a version in the window."""
    runs = _trained(snapshot, _triggered(snapshot, _MONTH))
    if not snapshot.pipeline_runs:
        return Found(status="unknown", reason="No pipeline ever ran here.", window_days=_MONTH)
    if not runs:
        return failed("No training run was started by a trigger.", window_days=_MONTH)
    return passed(f"{len(runs)} training runs were started by triggers.", _shown(runs), window_days=_MONTH)


@CAPABILITIES.member("P02")
def triggers_work(snapshot: Snapshot) -> Found:
    """An enabled trigger exists and has started a run that succeeded."""
    ids = {trigger.id: trigger for trigger in snapshot.triggers}
    runs = [r for r in snapshot.pipeline_runs if r.status == "succeeded" and r.cause.trigger in ids]
    if not ids:
        return failed("No trigger is enabled.")
    if not runs:
        return failed("No enabled trigger has started a run that succeeded.", [row("trigger", t.name, t.kind) for t in ids.values()])
    kinds = ", ".join(sorted({trigger.kind for trigger in ids.values()}))
    return passed(f"{len(ids)} triggers ({kinds}) are enabled and started {len(runs)} runs.", _shown(runs))


@CAPABILITIES.member("P04")
def steps_reused(snapshot: Snapshot) -> Found:
    """A step with its own inputs and outputs is used by two pipelines that ran."""
    ran = {run.pipeline for run in snapshot.pipeline_runs if run.status == "succeeded"}
    users: dict[str, set[str]] = {}
    for pipeline in snapshot.pipelines:
        for step in pipeline.steps:
            if pipeline.name in ran:
                users.setdefault(step.target, set()).add(pipeline.name)
    shared = {target: names for target, names in users.items() if len(names) > 1}
    if not shared:
        return failed("No step is used by two pipelines that ran.")
    return passed(
        f"{len(shared)} of {len(users)} steps are shared.",
        [row("step", target, ", ".join(sorted(names))) for target, names in shared.items()],
    )


@CAPABILITIES.member("P05")
def pipeline_is_deployed(snapshot: Snapshot) -> Found:
    """Every version in production was made by a run of a known pipeline whose code has a digest."""
    if not snapshot.served:
        return NO_PRODUCTION
    known = {pipeline.name for pipeline in snapshot.pipelines}
    rows: list[EvidenceRow] = []
    for version in snapshot.served:
        run = snapshot.pipeline_run(version.pipeline_run_id)
        if run is None or not run.code or run.pipeline not in known:
            return failed(f"{version.model}:{version.number} was not made by a run of a known pipeline.", rows)
        rows.append(row("pipeline_run", f"{run.pipeline}:{run.number}", f"{version.model}:{version.number}"))
    return passed("Every version in production was made by a pipeline.", rows)


@CAPABILITIES.member("P06")
def metadata_complete(snapshot: Snapshot) -> Found:
    """At least 99 % of the window's finished runs tell code, lock, interpreter, times, hardware and their tracking run."""
    ended = [r for r in snapshot.pipeline_runs if r.ended_at is not None and r.created_at >= snapshot.since(_MONTH)]
    if not ended:
        return Found(status="unknown", reason="No pipeline run ended in the window.", window_days=_MONTH)
    whole = [r for r in ended if r.code and r.lock and r.python and r.started_at and r.hardware and r.run_id]
    share = len(whole) / len(ended)
    told = f"{len(whole)} of {len(ended)} runs are told completely."
    return (passed if share >= 0.99 else failed)(told, _shown(whole), window_days=_MONTH)  # noqa: PLR2004


@CAPABILITIES.member("P07")
def events_followed(snapshot: Snapshot) -> Found:
    """Events of runs, versions and deployments are stored and delivered, and a trigger was called upon by one."""
    kinds = {entry.kind for entry in snapshot.events if entry.delivered_at is not None}
    wanted = {"pipelines.run_finished", "registry.version_registered", "serving.deployment_changed"}
    rows = [row("event", kind) for kind in sorted(kinds)]
    missing = sorted(wanted - kinds)
    if missing:
        return failed(f"No event {missing[0]} was delivered.", rows)
    if not snapshot.fires:
        return failed("No trigger was ever called upon by an event.", rows)
    return passed(f"{len(kinds)} kinds of events are delivered; triggers were called {len(snapshot.fires)} times.", rows)


@CAPABILITIES.member("X01")
def versions_have_runs(snapshot: Snapshot) -> Found:
    """Every registered version links to a tracked run."""
    names = [f"{v.model}:{v.number}" for v in snapshot.versions]
    missing = [f"{v.model}:{v.number}" for v in snapshot.versions if not v.run_id]
    if not names:
        return Found(status="unknown", reason="No model version is registered.")
    return each(names, missing, "a tracked run", [row("model_version", name) for name in names])


@CAPABILITIES.member("X02")
def tracked_centrally(snapshot: Snapshot) -> Found:
    """Every version in production links to a run in this store."""
    names = [f"{v.model}:{v.number}" for v in snapshot.served]
    missing = [f"{v.model}:{v.number}" for v in snapshot.served if not v.run_id]
    return each(names, missing, "a run in this store", [row("model_version", name) for name in names])


@CAPABILITIES.member("X03")
def code_is_committed(snapshot: Snapshot) -> Found:
    """Every version registered in the window was trained from a clean commit."""
    recent = [v for v in snapshot.versions if v.created_at >= snapshot.since(_QUARTER)]
    if not recent:
        return Found(status="unknown", reason="No version was registered in the window.", window_days=_QUARTER)
    dirty = [f"{v.model}:{v.number}" for v in recent if not v.git_commit or v.git_dirty]
    names = [f"{v.model}:{v.number}" for v in recent]
    rows = [row("git_commit", v.git_commit, f"{v.model}:{v.number}") for v in recent if v.git_commit]
    return each(names, dirty, "a clean commit", rows, window_days=_QUARTER)


@CAPABILITIES.member("I01")
def production_from_source(snapshot: Snapshot) -> Found:
    """Every version in production names the commit it came from."""
    names = [f"{v.model}:{v.number}" for v in snapshot.served]
    missing = [f"{v.model}:{v.number}" for v in snapshot.served if not v.git_commit]
    return each(names, missing, "a commit", [row("git_commit", v.git_commit) for v in snapshot.served if v.git_commit])


@CAPABILITIES.member("X04")
def locked_and_restored(snapshot: Snapshot) -> Found:
    """Every version has a lock, and in the window a run was repeated with libraries built from its lock or proven to be its own."""
    without = [v for v in snapshot.versions if not v.lock]
    if not snapshot.versions or without:
        return failed("A version has no lock." if without else "No version is registered.")
    recent = [r for r in snapshot.reproductions if r.created_at >= snapshot.since(_QUARTER) and r.likeness != "different"]
    restored = [r for r in recent if r.rebuilt or all(change.kind not in {"package", "lock"} for change in r.changes)]
    if restored:
        rows = [row("reproduction", r.id, "libraries built anew" if r.rebuilt else "libraries proven") for r in restored[:5]]
        return passed(f"{len(restored)} runs were repeated with the libraries of their lock.", rows, window_days=_QUARTER)
    locks = tuple(row("lock", v.lock) for v in snapshot.versions[:5])
    return Found(status="manual", reason="Every version has a lock; no restored environment is on record.", rows=locks, found=len(locks))


@CAPABILITIES.member("X05")
def reproducible(snapshot: Snapshot) -> Found:
    """The training run of every version in production was reproduced in the window, alike within the tolerance."""
    if not snapshot.served:
        return NO_PRODUCTION
    recent = [r for r in snapshot.reproductions if r.created_at >= snapshot.since(_QUARTER)]
    alike = {r.pipeline_run: r for r in recent if r.likeness != "different"}
    names = [f"{v.model}:{v.number}" for v in snapshot.served]
    missing = [f"{v.model}:{v.number}" for v in snapshot.served if v.pipeline_run_id not in alike]
    rows = [row("reproduction", r.id, r.likeness) for r in recent]
    return each(names, missing, "an alike reproduction", rows, window_days=_QUARTER)


@CAPABILITIES.member("X06")
def compute_managed(snapshot: Snapshot) -> Found:
    """Versions in production were trained by runs that a worker executed for a trigger, with declared resources."""
    if not snapshot.served:
        return NO_PRODUCTION
    rows: list[EvidenceRow] = []
    for version in snapshot.served:
        run = snapshot.pipeline_run(version.pipeline_run_id)
        if run is None or run.cause.kind in _BY_HAND:
            return failed(f"{version.model}:{version.number} was trained by a run somebody started by hand.", rows)
        if not any(step.options.cpus or step.options.memory_bytes for step in run.steps):
            return failed(f"No step of {run.pipeline}:{run.number} declares the resources it needs.", rows)
        rows.append(row("pipeline_run", f"{run.pipeline}:{run.number}", run.cause.kind))
    return passed("Every training run was managed, with declared resources.", rows)


@CAPABILITIES.member("X07")
def orchestrated_with_cache(snapshot: Snapshot) -> Found:
    """At least 80 % of registered versions come from pipelines, and cached steps are on record."""
    if not snapshot.versions:
        return Found(status="unknown", reason="No model version is registered.")
    ours = [v for v in snapshot.versions if v.pipeline_run_id]
    share = len(ours) / len(snapshot.versions)
    cached = [s for r in snapshot.pipeline_runs[:50] for s in snapshot.detail(r.id).steps if s.status == "cached"]
    rows = [row("step_run", s.id, s.key) for s in cached]
    told = f"{share:.0%} of the versions come from pipelines; {len(cached)} steps were taken from the cache."
    return (passed if share >= 0.8 and cached else failed)(told, rows)  # noqa: PLR2004


@CAPABILITIES.member("C08")
def registered_by_itself(snapshot: Snapshot) -> Found:
    """The last training run that a trigger started registered a version."""
    runs = [r for r in _triggered(snapshot, 365) if r.pipeline in {t.pipeline for t in snapshot.triggers}]
    if not runs:
        return failed("No run was started by a trigger.")
    newest = max(runs, key=lambda run: run.created_at)
    made = [v for v in snapshot.versions if v.pipeline_run_id == newest.id]
    if not made:
        return failed(f"The last triggered run, {newest.pipeline}:{newest.number}, registered nothing.", _shown([newest]))
    return passed(f"{newest.pipeline}:{newest.number} registered {made[0].model}:{made[0].number}.", _shown([newest]))
