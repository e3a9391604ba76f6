"""Runs: the list, and one run with its metric curves, params, artifacts and what it was made with."""

from __future__ import annotations

from math import isfinite

from markupsafe import Markup

from rung.tracking.records import GetRun, ListArtifacts, MetricHistory, Run, SearchRuns
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Facts, Page, Stats, Table, Visit, Words
from rung.ui.charts.line import Series, line_chart
from rung.ui.words import link, number, pill, when

_SHOWN = 4
_CURVES = 12
_EMPTY = 'import rung\n\nwith rung.start_run(experiment="first"):\n    rung.log_param("depth", 4)\n    rung.log_metric("auc", 0.71)'


def runs(visit: Visit) -> Page:
    """Newest runs, or those of one experiment."""
    experiment = visit.query.get("experiment") or None
    failed = "status = 'failed'" if visit.query.get("status") == "failed" else ""
    wanted = (experiment,) if experiment else ()
    page = visit.ask(SearchRuns(experiments=wanted, filter=failed, after=visit.query.get("after") or None, limit=50))
    if not page.items:
        return Page(
            "Runs",
            "No run has been logged yet.",
            [Empty("A run is one attempt at an experiment, with its numbers.", "rung runs list", _EMPTY)],
            "rung runs list",
            {"runs": ()},
        )
    names = sorted({name for run in page.items for name in run.metrics})[:_SHOWN]
    rows = [_row(run, names) for run in page.items]
    more = [Words(link_after(experiment, page.next))] if page.next else []
    bad = sum(run.status == "failed" for run in page.items)
    head = f"{words.many(len(page.items), 'run')} shown, newest first" + (f"; {bad} failed." if bad else "; none failed.")
    return Page(
        "Runs",
        head,
        [Table(("run", "experiment", "state", "started", "took", *names, "by"), rows), *more],
        "rung runs list",
        {"runs": page},
        live=True,
    )


def link_after(experiment: str | None, after: str) -> object:
    """A link to the following page."""
    from urllib.parse import urlencode  # noqa: PLC0415 - used once a page at most

    query = urlencode({name: value for name, value in (("experiment", experiment), ("after", after)) if value})
    return Markup('<a href="/runs?{}">Older runs</a>').format(query)


def run(visit: Visit) -> Page:
    """One run."""
    held = visit.ask(GetRun(run=visit.path["run"]))
    artifacts = visit.find(ListArtifacts(owner=held.id)) or ()
    curves = [visit.ask(MetricHistory(run=held.id, key=key, limit=600)) for key in sorted(held.metrics)[:_CURVES]]
    figures = [
        line_chart(f"{c.key} by step", [Series(c.key, tuple((float(p.step), p.value) for p in c.points))], y_label=c.key, x_label="step")
        for c in curves
        if len(c.points) > 1
    ]
    context = held.context
    facts = [
        ("state", pill(held.status)),
        ("experiment", held.experiment),
        ("started", when(held.started_at)),
        ("took", words.took(held.started_at, held.ended_at)),
        ("by", held.created_by),
        ("pipeline run", link(held.pipeline_run[:8], "pipeline-runs", held.pipeline_run) if held.pipeline_run else words.MISSING),
        ("datasets", words.joined([link(f"{d.dataset}:{d.number} ({d.role})", "datasets", d.dataset, d.number) for d in held.datasets])),
        ("commit", words.digest(context.git_commit) + (" with changes" if context.git_dirty else "")),
        ("lock", words.digest(context.lock)),
        ("Python", context.python or words.MISSING),
        (
            "machine",
            f"{context.hardware.cpus} CPUs, {words.size(context.hardware.memory_bytes)}" if context.hardware.cpus else words.MISSING,
        ),
        ("seeds", ", ".join(f"{name}={value}" for name, value in context.seeds.items()) or words.MISSING),
        ("lineage", link("what went in and what came out", "lineage", "run", held.id)),
    ]
    blocks: list[object] = [Stats([(name, number(value), "") for name, value in sorted(held.metrics.items())[:8]])] if held.metrics else []
    if held.error:
        blocks.append(Words(held.error, "Error", code=True))
    blocks += [Charts(figures)] if figures else []
    blocks += [
        Facts(facts, "About this run"),
        Table(("param", "value"), [(k, str(v)) for k, v in sorted(held.params.items())], "Params" if held.params else ""),
    ]
    blocks.append(Table(("tag", "value"), sorted(held.tags.items()), "Tags" if held.tags else ""))
    files = [(a.path, words.size(a.size_bytes), a.media_type, words.digest(a.digest)) for a in artifacts]
    blocks.append(Table(("path", "size", "type", "digest"), files, "Artifacts" if files else ""))
    best = [f"{name} {number(value)}" for name, value in sorted(held.metrics.items()) if isfinite(value)][:2]
    head = run_title(held) + f" {held.status}" + (f" with {' and '.join(best)}." if best else ".")
    data = {"run": held, "artifacts": artifacts, "curves": curves}
    return Page("Run", head, blocks, f"rung runs show {held.experiment}:{held.number}", data, live=held.status == "running")


def run_title(held: Run) -> str:
    """Experiment and number, and the name where it says more."""
    number_ = f"{held.experiment}:{held.number}"
    return number_ if held.name in {"", number_} else f"{number_} {held.name}"


def _row(held: Run, names: list[str]) -> tuple[object, ...]:
    title = run_title(held)
    scores = [number(held.metrics.get(name)) for name in names]
    experiment = Markup('<a href="/runs?experiment={}">{}</a>').format(held.experiment, held.experiment)
    return (
        link(title, "runs", held.id),
        experiment,
        pill(held.status),
        when(held.started_at),
        words.took(held.started_at, held.ended_at),
        *scores,
        held.created_by,
    )
