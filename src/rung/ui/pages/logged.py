"""A logged model: what a run wrote down as a model, its metrics, its files, the versions made from it."""

from __future__ import annotations

from rung.tracking.artifacts import ListArtifacts
from rung.tracking.logged import GetLoggedModel
from rung.tracking.records import GetRun
from rung.ui import words
from rung.ui.blocks import Facts, Page, Table, Visit
from rung.ui.pages.files import files_part
from rung.ui.pages.runs import metric_words, run_title
from rung.ui.words import MISSING, joined, link, pill, when


def logged_model(visit: Visit) -> Page:
    """One logged model by its id, with or without ``m-``."""
    held = visit.ask(GetLoggedModel(model=visit.path["model"].removeprefix("m-")))
    run = visit.find(GetRun(run=held.run)) if held.run else None
    artifacts = visit.find(ListArtifacts(owner=f"m-{held.id}")) or ()
    facts: list[tuple[str, object]] = [
        ("state", pill(held.status)), ("kind", held.type or MISSING), ("made", when(held.created_at)), ("by", held.created_by),
        ("run", link(run_title(run), "runs", run.id) if run else MISSING), ("experiment", link(str(held.experiment_number), "experiments", held.experiment_number)),
        ("address", f"models:/m-{held.id}"), ("lineage", link("what came of the run", "lineage", "run", held.run) if held.run else MISSING),
    ]  # fmt: skip
    metrics = [
        (m.key, metric_words(m.value), f"{m.step:,}", joined([m.dataset_name, m.dataset_digest]) if m.dataset_name else MISSING)
        for m in held.metrics
    ]
    blocks: list[object] = [Facts(facts)]
    if metrics:
        blocks.append(Table(("metric", "value", "step", "on the data"), metrics, "Metrics"))
    blocks.append(Table(("param", "value"), sorted(held.params.items()), "Params" if held.params else ""))
    blocks.append(
        Table(
            ("tag", "value"), [(name, value[:500]) for name, value in sorted(held.tags.items())], "Tags" if held.tags else "", folded=True
        )
    )
    shown = files_part(visit, artifacts, words.address("logged-models", held.id), "Files")
    blocks += [shown] if shown else []
    head = f"{held.name or held.id[:8]} is {held.status}" + (f", logged by {run_title(run)}." if run else ".")
    return Page("Logged model", head, blocks, "", {"model": held, "artifacts": artifacts})
