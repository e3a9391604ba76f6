"""One run: its curves, extremes, params, inputs, models, children, artifacts, what it was made with, and what can be done."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from rung.tracking.artifacts import ListArtifacts
from rung.tracking.logged import GetLoggedModel, LoggedModel
from rung.tracking.records import Artifact, GetRun, MetricHistory, Run, SearchRuns
from rung.tracking.traces import SearchTraces
from rung.ui import words
from rung.ui.blocks import Facts, Form, Page, Part, Stats, Table, Visit, Words
from rung.ui.charts.line import Series, line_chart
from rung.ui.looks import ordered
from rung.ui.markdown import rendered
from rung.ui.pages.files import files_part
from rung.ui.pages.logged import input_row, versions_table
from rung.ui.pages.runs import metric_words, run_title
from rung.ui.words import HELD_OUT, MISSING, link, pill, when

SCRIPTS = ("uplot.min.css", "uplot.min.js", "curves.js", "htmx.min.js")
_SHOWN, _PICTURES, _CHILDREN, _MODELS, _MANY, _TRACES = 6, 4, 100, 20, 12, 50
_LONGEST_NAME = 250
_INTERNAL = "mlflow."
_NOTE = "mlflow.note.content"


def run(visit: Visit) -> Page:
    """One run by its id or as ``experiment:number``."""
    held = visit.ask(GetRun(run=visit.path["run"], points=True))
    artifacts = visit.find(ListArtifacts(owner=held.id)) or ()
    children = visit.ask(SearchRuns(filter=f"parent = '{held.id}'", order_by=_best_first(held), limit=_CHILDREN)).items
    models = [found for item in held.models[:_MODELS] if (found := visit.find(GetLoggedModel(model=item.model)))]
    names = sorted(held.metrics, key=lambda name: (name.startswith("system/"), name))
    live: list[object] = [Stats([(name, metric_words(held.metrics[name]), "") for name in names[:_SHOWN]])] if names else []
    if held.error:
        live.append(Words(held.error, "Error", code=True))
    if held.tags.get(_NOTE):
        live.append(Part("words.html", {"text": rendered(held.tags[_NOTE])}))
    live.append(Facts(_facts(visit, held), wide=True))
    still: list[object] = [_acts(held), *_values(visit, held, names), *_around(visit, held, models, children), *_tags(held)]
    shown = files_part(visit, artifacts, words.address("runs", held.id))
    still += [shown] if shown else []
    still.append(Facts(_made_with(held), "Made with", wide=True))
    still.append(Part("fold.html", {"title": "Use it from Python, run it again", "code": _snippet(held, artifacts)}))
    data = {"run": held, "artifacts": artifacts, "children": children, "models": models}
    running = held.status in {"running", "scheduled"}
    shape = f"{held.status} {len(names)} {len(_single(held, names))} {len(artifacts)} {len(children)} {len(models)}"
    return Page(
        "Run", _headline(held), live, f"rung runs show {held.experiment}:{held.number}", data,
        live=running, refresh_s=3, still=still, scripts=SCRIPTS, shape=shape,
    )  # fmt: skip


def _values(visit: Visit, held: Run, names: Sequence[str]) -> list[object]:
    """Curves, metrics with their extremes, params."""
    blocks: list[object] = []
    params = [(name, words.plain(value)) for name, value in sorted(held.params.items())]
    if params:
        blocks.append(Part("pairs.html", {"pairs": params}, f"Params ({len(params)})"))
    if names:
        single = _single(held, names)
        curved = [name for name in names if name not in single]
        columns = ("metric", "last", "at step", "lowest", "at step", "highest", "at step")
        blocks += [curves_part(visit, held, curved)] if curved else []
        blocks.append(Table(columns, _extremes(held, names), f"Metrics ({len(names)})", tall=True))
    return blocks


def _single(held: Run, names: Sequence[str]) -> set[str]:
    """Metrics measured at one step only, which make no curve."""
    return {name for name in names if (point := held.latest[name]).extremes.low_step == point.extremes.high_step == point.step}


def _around(visit: Visit, held: Run, models: Sequence[LoggedModel], children: Sequence[Run]) -> list[object]:
    """Logged models and what was registered from them, child runs, inputs, traces."""
    blocks: list[object] = []
    if models:
        blocks.append(Table(("logged model", "state", "kind", "made", "metrics"), [_model(model) for model in models], "Logged models"))
    blocks += versions_table(visit, held.id)
    if children:
        blocks.append(_children(held, children))
    if held.inputs:
        columns = ("input", "used for", "rows", "columns", "from", "digest")
        blocks.append(Table(columns, [input_row(item) for item in held.inputs], f"Inputs ({len(held.inputs)})"))
    return [*blocks, *_traces(visit, held)]


def _traces(visit: Visit, held: Run) -> list[Table]:
    found = visit.find(SearchTraces(experiments=(held.experiment_number,), filter=f"run_id = '{held.id}'", limit=_TRACES))
    if found is None or not found.items:
        return []
    rows = [
        (trace.tags.get("mlflow.traceName", MISSING), pill(trace.state.lower() or "unknown"), when(trace.at), f"{trace.duration_ms:,.0f}\u00a0ms", trace.id)
        for trace in found.items
    ]  # fmt: skip
    return [Table(("trace", "state", "started", "took", "id"), rows, f"Traces ({len(rows)}{'+' if found.next else ''})", tall=True)]


def curves_part(visit: Visit, held: Run, names: Sequence[str]) -> Part:
    """The curves of a run by the part of their names before the slash; the first few also as pictures for readers without scripts."""
    groups = []
    drawn = 0
    by_prefix = len(names) > _MANY or any(name.startswith("system/") for name in names)
    for prefix, members in groupby(names, key=lambda name: name.rpartition("/")[0] if by_prefix else ""):
        curves = []
        for key in members:
            svg: object = ""
            if drawn < _PICTURES:
                drawn += 1
                points = visit.ask(MetricHistory(run=held.id, key=key, limit=200)).points
                line = Series(key, tuple((float(point.step), point.value) for point in points))
                svg = Markup("<noscript>{}</noscript>").format(line_chart(f"{key} by step", [line], y_label=key, x_label="step").svg)
            query = words.query(runs=held.id, key=key)
            label = f"{key} by step, last {metric_words(held.metrics[key])}"
            curves.append({"key": key, "src": f"/curves.json?{query}", "page": f"/curves?{query}", "svg": svg, "label": label})
        groups.append({"name": prefix, "curves": curves, "fold": prefix == "system"})
    return Part("curves.html", {"groups": groups, "find": len(names) > _MANY, "wide": len(names) == 1}, "Curves")


def _headline(held: Run) -> str:
    names = [name for name in sorted(held.metrics) if not name.startswith("system/")]
    names.sort(key=lambda name: not any(word in name for word in HELD_OUT))
    best = [f"{name} {metric_words(held.metrics[name])}" for name in names][:2]
    said = "deleted" if held.deleted_at else held.status
    return f"{run_title(held)} {said}" + (f" with {' and '.join(best)}." if best else ".")


def _facts(visit: Visit, held: Run) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        ("state", pill("deleted", "bad") if held.deleted_at else pill(held.status)),
        ("experiment", link(held.experiment, "experiments", held.experiment_number)),
        ("started", when(held.started_at)),
        ("took", words.took(held.started_at, held.ended_at)),
        ("by", held.created_by),
    ]
    if held.parent:
        parent = visit.find(GetRun(run=held.parent))
        facts.append(("child of", link(run_title(parent), "runs", parent.id) if parent else held.parent))
    if held.pipeline_run:
        facts.append(("pipeline run", link(held.pipeline_run[:8], "pipeline-runs", held.pipeline_run)))
    if held.datasets:
        facts.append(
            ("datasets", words.joined([link(f"{d.dataset}:{d.number} ({d.role})", "datasets", d.dataset, d.number) for d in held.datasets]))
        )
    return [*facts, ("lineage", link("what went in and what came out", "lineage", "run", held.id))]


def _made_with(held: Run) -> list[tuple[str, object]]:
    """Code, libraries and machine."""
    context, hardware = held.context, held.context.hardware
    source = context.source or held.tags.get("mlflow.source.name", "")
    commit = context.git_commit or held.tags.get("mlflow.source.git.commit", "")
    known: list[tuple[str, object]] = [
        ("source", source), ("commit", words.digest(commit) + (" with changes" if context.git_dirty else "") if commit else ""),
        ("lock", words.digest(context.lock) if context.lock else ""), ("Python", context.python),
        ("machine", f"{hardware.cpus} CPUs, {words.size(hardware.memory_bytes)}" + "".join(f", {gpu}" for gpu in hardware.gpus) if hardware.cpus else ""),
        ("seeds", ", ".join(f"{name}={value}" for name, value in context.seeds.items())),
    ]  # fmt: skip
    return [("run id", Markup("<code>{}</code>").format(held.id)), *((name, value) for name, value in known if value)]


def _acts(held: Run) -> Part:
    hidden = {"run": held.id}
    if held.deleted_at:
        return Part("fold.html", {"title": "Change this run", "forms": [Form("/act/restore-run", "Restore", hidden)], "open": True})
    forms = [
        Form("/act/rename-run", "Rename", hidden, (("name", "Name", held.name),)),
        Form("/act/note-run", "Save note", hidden, (("note", "Note", held.tags.get(_NOTE, "")),)),
        Form("/act/tag-run", "Set tag", hidden, (("key", "Tag", ""), ("value", "Value", ""))),
        Form("/act/delete-run", "Delete", hidden),
    ]
    return Part("fold.html", {"title": "Change this run", "forms": forms})


def _extremes(held: Run, names: Sequence[str]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for name in names:
        point = held.latest[name]
        edge = point.extremes
        low = (metric_words(edge.low), f"{edge.low_step:,}") if edge.low is not None and edge.low_step is not None else (MISSING, MISSING)
        high = (
            (metric_words(edge.high), f"{edge.high_step:,}") if edge.high is not None and edge.high_step is not None else (MISSING, MISSING)
        )
        rows.append((name, metric_words(point.value), f"{point.step:,}", *low, *high))
    return rows


def _model(model: LoggedModel) -> tuple[object, ...]:
    told = ", ".join(f"{metric.key} {metric_words(metric.value)}" for metric in model.metrics[:6])
    return (
        link(model.name or model.id[:8], "logged-models", model.id),
        pill(model.status),
        model.type or MISSING,
        when(model.created_at),
        told or MISSING,
    )


def _best_first(held: Run) -> tuple[str, ...]:
    """How the trials of a sweep are ordered; children of other runs come newest first."""
    metric = _sweeps_metric(held)
    return (ordered(f"metrics.{metric}", descending=held.tags.get("rung.sweep.direction", "").startswith("maximize")),) if metric else ()


def _sweeps_metric(held: Run) -> str:
    """The first metric a sweep looks for; tags are free texts, so what cannot be a metric's name is none."""
    name = held.tags.get("rung.sweep.metric", "").split(", ")[0]
    return name if name.isprintable() and len(name) <= _LONGEST_NAME else ""


def _children(held: Run, children: Sequence[Run]) -> Table:
    """Child runs with a few metrics, the sweep's first, and the params in which they differ."""
    metric = _sweeps_metric(held)
    names = sorted(
        {name for child in children for name in child.metrics if not name.startswith("system/")}, key=lambda name: (name != metric, name)
    )[:3]
    keys = sorted({key for child in children for key in child.params})
    params = [key for key in keys if len({repr(child.params.get(key)) for child in children}) > 1][:6]
    rows = [
        (
            link(run_title(c), "runs", c.id),
            pill(c.tags.get("rung.trial.state", c.status)),
            *(metric_words(c.metrics[n]) if n in c.metrics else MISSING for n in names),
            *(words.plain(c.params[key])[:80] if key in c.params else MISSING for key in params),
            when(c.started_at),
        )
        for c in children
    ]
    compare = Markup('<a href="/compare?{}">Compare them: curves, parallel coordinates, which params matter</a>').format(
        words.query(where=f"parent = '{held.id}'", metric=metric)
    )
    count = f"{len(rows)}+" if len(rows) == _CHILDREN else str(len(rows))
    return Table(("child run", "state", *names, *params, "started"), rows, f"Child runs ({count})", note=compare, tall=True)


def _tags(held: Run) -> list[Table]:
    own = [(name, value) for name, value in sorted(held.tags.items()) if not name.startswith(_INTERNAL)]
    inner = [(name, value[:500]) for name, value in sorted(held.tags.items()) if name.startswith(_INTERNAL)]
    found = [Table(("tag", "value"), own, "Tags")] if own else []
    return [*found, Table(("tag", "value"), inner, "Tags of the MLflow client", folded=True)] if inner else found


def _snippet(held: Run, artifacts: Sequence[Artifact]) -> str:
    lines = [
        "import rung", "", f'run = rung.get_run("{held.id}")', "run.params, run.metrics",
    ]  # fmt: skip
    if held.metrics:
        lines.append(f"rung.history(run, {sorted(held.metrics)[0]!r})  # a Polars frame of step, at, value")
    if artifacts:
        lines.append(f'rung.connect().tracking.download_artifacts("{held.id}", "files")')
    if held.context.git_commit:
        lines += ["", "# to run it again", f"$ git checkout {held.context.git_commit}"]
        if any(item.path == "code/uncommitted.patch" for item in artifacts):
            lines.append("$ git apply files/code/uncommitted.patch")
        if held.context.source:
            lines.append(f"$ python {held.context.source}")
    if held.pipeline_run:
        lines += ["", "# to run its pipeline again", f"$ rung reproduce {held.pipeline_run}"]
    return "\n".join(lines)
