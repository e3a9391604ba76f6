"""A logged model: what a run wrote down as a model, its metrics, its files, the versions made from it."""

from __future__ import annotations

from typing import Any

import msgspec

from rung.registry.logged import SearchVersions
from rung.tracking.artifacts import ListArtifacts
from rung.tracking.logged import GetLoggedModel
from rung.tracking.records import GetExperiment, GetRun, Input
from rung.ui import words
from rung.ui.blocks import Facts, Page, Part, Table, Visit
from rung.ui.pages.files import files_part
from rung.ui.pages.runs import metric_words, run_title
from rung.ui.words import MISSING, joined, link, pill, when

_VERSIONS = 50


def logged_model(visit: Visit) -> Page:
    """One logged model by its id, with or without ``m-``."""
    held = visit.ask(GetLoggedModel(model=visit.path["model"].removeprefix("m-")))
    run = visit.find(GetRun(run=held.run)) if held.run else None
    artifacts = visit.find(ListArtifacts(owner=f"m-{held.id}")) or ()
    experiment = visit.ask(GetExperiment(number=held.experiment_number))
    facts: list[tuple[str, object]] = [
        ("state", pill("deleted", "bad") if held.deleted_at else pill(held.status)), ("made", when(held.created_at)), ("by", held.created_by),
        ("run", link(run_title(run), "runs", run.id) if run else MISSING), ("experiment", link(experiment.name, "experiments", experiment.number)),
        ("kind", held.type or MISSING), ("address", words.code(f"models:/m-{held.id}")),
        ("lineage", link("what came of the run", "lineage", "run", held.run) if held.run else MISSING),
    ]  # fmt: skip
    blocks: list[object] = [Facts(facts, wide=True)]
    blocks += versions_table(visit, held.run, held.id) if held.run else []
    metrics = [
        (m.key, metric_words(m.value), f"{m.step:,}", joined([m.dataset_name, m.dataset_digest]) if m.dataset_name else MISSING)
        for m in held.metrics
    ]
    if metrics:
        blocks.append(Table(("metric", "value", "step", "on the data"), metrics, "Metrics", tall=True))
    if held.params:
        blocks.append(Part("pairs.html", {"pairs": sorted(held.params.items())}, f"Params ({len(held.params)})"))
    tags = [(name, value[:500]) for name, value in sorted(held.tags.items())]
    blocks += [Table(("tag", "value"), tags, "Tags", folded=True)] if tags else []
    shown = files_part(visit, artifacts, words.address("logged-models", held.id), "Files", first="MLmodel")
    blocks += [shown] if shown else []
    head = f"{held.name or held.id[:8]} is {held.status}" + (f", logged by {run_title(run)}." if run else ".")
    command = f"rung model register-logged NAME models:/m-{held.id}"
    return Page("Logged model", head, blocks, command, {"model": held, "artifacts": artifacts})


def versions_table(visit: Visit, run: str, logged: str = "") -> list[Table]:
    """Versions registered from a run, or from one logged model of it; nothing where there are none."""
    found = visit.find(SearchVersions(filter=f"run = '{run}'", limit=_VERSIONS))
    versions = [item for item in (found.items if found else ()) if not logged or item.logged_model == logged]
    rows = [
        (
            link(f"{item.model}:{item.number}", "models", item.model, item.number),
            pill("serves" if not item.unservable else "is kept only", "ok" if not item.unservable else "warn"),
            item.format or MISSING,
            item.stage,
            when(item.created_at),
        )
        for item in versions
    ]
    return [Table(("version", "use", "format", "stage", "registered"), rows, "Registered as")] if rows else []


def input_row(held: Input) -> tuple[object, ...]:
    """What a client said of data that a run read, in the words of a table."""
    schema, profile, source = _read(held.schema), _read(held.profile), _read(held.source)
    rows = next((profile[name] for name in ("num_rows", "features_shape", "num_elements") if name in profile), None)
    columns = next((value for value in schema.values() if isinstance(value, list)), None)
    names = [str(column.get("name", column.get("type", ""))) for column in columns or () if isinstance(column, dict)]
    tags = source.get("tags") if isinstance(source.get("tags"), dict) else {}
    where = next((source[name] for name in ("uri", "url", "path", "table_name", "name") if source.get(name)), None)
    said = where or (tags or {}).get("mlflow.source.name") or held.source[:200]
    listed = ", ".join(names)
    return (
        held.name,
        held.tags.get("mlflow.data.context", MISSING),
        MISSING if rows is None else _count(rows),
        words.hover(f"{len(names):,}", listed) if names else MISSING,
        f"{held.source_type}: {said}" if said else held.source_type,
        words.code(held.digest),
    )


def _count(value: object) -> str:
    """A number of rows, perhaps the first part of a shape."""
    first = value[0] if isinstance(value, list) and value else value
    return f"{first:,}" if isinstance(first, int) else str(first)[:80]


def _read(text: str) -> dict[str, Any]:
    """A JSON object somebody wrote; empty where it is none."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
