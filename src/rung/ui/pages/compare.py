"""Runs side by side: curves over each other, params against metrics, what differs in values, code, libraries and data."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from markupsafe import Markup

from rung.core.errors import NotFound
from rung.stats.influence import Influence, influences
from rung.tracking.artifacts import GetArtifact
from rung.tracking.records import Run, SearchRuns
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Page, Part, Table, Visit, Words
from rung.ui.charts.parallel import Axis, Mark, parallel_chart, scatter_chart
from rung.ui.looks import ids, known_column, split
from rung.ui.packages import differences, packages
from rung.ui.pages.curves import by_id
from rung.ui.pages.runs import metric_words, run_title
from rung.ui.words import MISSING, digest, joined, link, pill

MOST = 500
_SIDE, _COLUMNS, _AXES, _DEEP = 12, 40, 7, 12
_PATCH = "code/uncommitted.patch"
_PATCH_SHOWN = 64 << 10
SCRIPTS = ("uplot.min.css", "uplot.min.js", "curves.js")


def compare(visit: Visit) -> Page:
    """The runs ``runs=a,b``, or those a filter finds (``where=``, ``order=``, ``experiment=``), at most 500."""
    held, more = _runs(visit)
    if not held:
        blank = Empty("Choose runs by their boxes in the table of runs, or give a filter.", "rung runs compare flights:11 flights:12")
        return Page("Compare", "There are no runs to compare.", [blank], "rung runs compare", {"runs": ()})
    metrics = sorted({key for run in held for key in run.metrics}, key=lambda key: (key.startswith("system/"), key))
    params = [name for name in sorted({key for run in held for key in run.params}) if _differs([run.params.get(name) for run in held])]
    metric = visit.query.get("metric", "")
    metric = metric if metric in metrics else _liveliest(held, metrics)
    everything = visit.query.get("all") == "1"
    marks = [Mark(run_title(run), words.address("runs", run.id)) for run in held]
    found = _influences(held, params, metric) if len(held) > 2 else []  # noqa: PLR2004 - two runs make no pattern
    strongest = [item.param for item in found]
    params = [*strongest, *(name for name in params if name not in strongest)]
    blocks: list[object] = [_controls(visit, held, metrics, params, metric, everything=everything)]
    if metric:
        blocks.append(_curves(visit, held, metric))
    if len(held) > 2 and metric and params:  # noqa: PLR2004 - two runs make no pattern
        blocks += _patterns(visit, held, params, metric, marks, found)
    blocks += _values(held, everything=everything)
    blocks += _contexts(visit, held, everything=everything)
    data = {"runs": tuple(run.id for run in held), "metric": metric, "params": params, "metrics": metrics}
    head = f"{words.many(len(held), 'run')} compared: {words.many(len(params), 'param')} and {words.many(_changing(held, metrics), 'metric')} differ."
    if more:
        head += f" More runs meet the filter; the first {MOST} are shown."
    command = "rung runs compare " + " ".join(f"{run.experiment}:{run.number}" for run in held[:4]) + (" …" if len(held) > 4 else "")  # noqa: PLR2004 - as many as fit a line
    return Page("Compare", head, blocks, command, data, scripts=SCRIPTS)


def _runs(visit: Visit) -> tuple[list[Run], bool]:
    wanted = ids(",".join(visit.many.get("runs", ())))
    if wanted:
        return list(by_id(visit, wanted).values()), False
    if "where" not in visit.query and "experiment" not in visit.query:
        return [], False
    number = visit.query.get("experiment", "")
    experiments = (int(number),) if number.isdecimal() else ()
    where, order = visit.query.get("where", ""), visit.query.get("order", "")
    page = visit.ask(SearchRuns(experiments=experiments, filter=where, order_by=(order,) if order else (), limit=MOST))
    return list(page.items), page.next is not None


def _controls(visit: Visit, held: Sequence[Run], metrics: Sequence[str], params: Sequence[str], metric: str, *, everything: bool) -> Part:
    kept = [(name, value) for name in ("runs", "where", "order", "experiment") for value in visit.many.get(name, ())]
    columns = [f"params.{name}" for name in params] + [f"metrics.{name}" for name in metrics]
    x, y, shade = _axes(visit, params, metric)
    values = {
        "kept": kept, "metrics": metrics, "metric": metric, "params": params, "group": visit.query.get("group", ""), "columns": columns, "x": x, "y": y,
        "shade": shade, "everything": everything, "many": len(held) > 2,  # noqa: PLR2004 - two runs make no pattern
    }  # fmt: skip
    return Part("compare.html", values)


def _curves(visit: Visit, held: Sequence[Run], metric: str) -> Part:
    group = visit.query.get("group", "")
    query = words.query(runs=",".join(run.id for run in held), key=metric, group=group)
    title = f"{metric}, mean by {group}" if group else metric
    curve = {"key": title, "src": f"/curves.json?{query}", "page": f"/curves?{query}", "svg": "", "label": f"{metric} of {len(held)} runs"}
    return Part("curves.html", {"groups": [{"name": "", "curves": [curve], "fold": False}], "find": False, "wide": True}, "Curves")


def _patterns(
    visit: Visit, held: Sequence[Run], params: Sequence[str], metric: str, marks: Sequence[Mark], found: Sequence[Influence]
) -> list[object]:
    x, y, shade = _axes(visit, params, metric)
    chosen = [name for name in visit.many.get("axis", ()) if known_column(name)][:_AXES] or [
        f"params.{name}" for name in _telling(held, params)
    ] + [f"metrics.{metric}"]
    axes = [_axis(held, name) for name in chosen]
    along = parallel_chart(
        f"Params and {metric}, a line a run.",
        axes,
        marks,
        "A stronger colour is higher on the last axis. Rest the pointer on a line to see its run; click to open it.",
    )
    dots = scatter_chart(
        f"{_short(y)} over {_short(x)}.",
        _axis(held, x),
        _axis(held, y),
        _axis(held, shade),
        marks,
        f"A stronger colour is higher in {_short(shade)}.",
    )
    blocks: list[object] = [Charts([along], "Parallel coordinates"), Charts([dots], "Scatter")]
    if found:
        rows = [
            (
                item.param,
                _bar(item.strength),
                f"{item.strength:.2f}",
                f"{item.low:.2f} to {item.high:.2f}",
                {1: "up", -1: "down", 0: MISSING}[item.direction],
                str(item.values),
                str(item.runs),
            )
            for item in found[:20]
        ]
        note = (
            "Strength is the absolute rank correlation (Spearman) for numbers, and the square root of epsilon squared of the ranks for texts, with a 95 % bootstrap interval."
            " Each param is looked at alone: params that moved together share the credit, and what only works in combination is not seen. It is no proof of a cause."
        )
        head = ("param", "", "strength", "95 % interval", f"{metric} goes", "values", "runs")
        blocks.append(Table(head, rows, f"Which params go along with {metric}", note))
    return blocks


def _influences(held: Sequence[Run], params: Sequence[str], metric: str) -> list[Influence]:
    values = {name: [run.params.get(name) for run in held] for name in params[:200]}
    return influences(values, [run.metrics.get(metric, float("nan")) for run in held])


def _values(held: Sequence[Run], *, everything: bool) -> list[object]:
    """Params and metrics: names down and runs across for few runs, runs down for many."""
    facts: list[tuple[str, str, list[object]]] = []
    for group in ("params", "metrics", "tags"):
        keys = {key for run in held for key in getattr(run, group) if not key.startswith("mlflow.")}
        names = sorted(keys, key=lambda key: (key.startswith("system/"), key))
        facts += [(group[:-1], name, [getattr(run, group).get(name) for run in held]) for name in names]
    shown = [fact for fact in facts if everything or _differs(fact[2])]
    if len(held) <= _SIDE:
        columns = ("", "name", *(link(run_title(run), "runs", run.id) for run in held))
        rows: list[tuple[object, ...]] = [("state", "", *(pill(run.status) for run in held))]
        rows += [(kind, name, *(_cell(kind, value) for value in values)) for kind, name, values in shown]
        return [Table(columns, rows, "Values" if everything else "Values that differ")]
    kept = [fact for fact in shown if fact[0] != "tag"][:_COLUMNS]
    columns = ("run", "state", *(name for _, name, _ in kept))
    rows = [
        (link(run_title(run), "runs", run.id), pill(run.status), *(_cell(kind, values[n]) for kind, _, values in kept))
        for n, run in enumerate(held)
    ]
    note = f"{len(shown) - len(kept)} more columns differ; choose fewer runs to see them." if len(shown) > len(kept) else ""
    return [Table(columns, rows, "Values" if everything else "Values that differ", note, tall=True)]


def _contexts(visit: Visit, held: Sequence[Run], *, everything: bool) -> list[object]:
    """Commit, lock, interpreter, data; package by package where locks differ; uncommitted code."""
    rows: list[tuple[object, ...]] = []
    titles = {run.id: run_title(run) for run in held}
    for name, values in (
        ("commit", [run.context.git_commit or run.tags.get("mlflow.source.git.commit", "") for run in held]),
        ("uncommitted changes", ["yes" if run.context.git_dirty else "no" for run in held]),
        ("lock", [run.context.lock for run in held]),
        ("Python", [run.context.python for run in held]),
        ("platform", [run.context.platform for run in held]),
        ("source", [run.context.source or run.tags.get("mlflow.source.name", "") for run in held]),
        (
            "data",
            [
                ", ".join([*(f"{d.dataset}:{d.number} ({d.role})" for d in run.datasets), *(f"{i.name} {i.digest}" for i in run.inputs)])
                for run in held
            ],
        ),
        ("by", [run.created_by for run in held]),
    ):
        groups: dict[str, list[str]] = {}
        for run, value in zip(held, values, strict=True):
            groups.setdefault(value, []).append(run.id)
        if everything or len(groups) > 1:
            rows += [
                (name, digest(value) if name in {"commit", "lock"} else value or MISSING, f"{len(of):,}", _named(of, titles))
                for value, of in groups.items()
            ]
    blocks: list[object] = [Table(("what", "is", "runs", "which"), rows, "Code, libraries and data")] if rows else []
    return [*blocks, *_locks(visit, held, titles), *_patches(visit, held[:_DEEP])]


def _locks(visit: Visit, held: Sequence[Run], titles: dict[str, str]) -> list[object]:
    distinct = {run.context.lock: run for run in reversed(held) if run.context.lock}
    ordered = sorted(distinct.values(), key=lambda run: [item.id for item in held].index(run.id))[:4]
    if len(ordered) < 2:  # noqa: PLR2004 - nothing to compare
        return []
    first, *others = [(run, _packages(visit, run)) for run in ordered]
    blocks: list[object] = []
    for run, held_packages in others:
        rows = [
            (name, pill(what, "warn" if what == "changed" else "accent"), before or MISSING, after or MISSING)
            for name, what, before, after in differences(first[1], held_packages)
        ]
        title = f"Packages: {titles[first[0].id]} and {titles[run.id]}"
        columns = ("package", "what", titles[first[0].id], titles[run.id])
        note = (
            ""
            if rows
            else "The locks differ, the packages and versions in them do not."
            if held_packages and first[1]
            else "A lock cannot be read package by package."
        )
        blocks.append(Table(columns, rows, title, note))
    return blocks


def _packages(visit: Visit, run: Run) -> dict[str, str]:
    try:
        return packages(visit.transport.get_blob(run.context.lock), run.context.lock_kind)
    except NotFound:
        return {}


def _patches(visit: Visit, held: Sequence[Run]) -> list[object]:
    found = [(run, artifact) for run in held if (artifact := visit.find(GetArtifact(owner=run.id, path=_PATCH)))]
    blocks: list[object] = []
    shown: dict[str, str] = {}
    for run, artifact in found:
        if artifact.digest in shown:
            blocks.append(Words(f"{run_title(run)} had the same uncommitted code as {shown[artifact.digest]}."))
            continue
        shown[artifact.digest] = run_title(run)
        text = visit.transport.get_blob(artifact.digest)[:_PATCH_SHOWN].decode("utf-8", "replace")
        blocks.append(Part("fold.html", {"title": f"Uncommitted code of {run_title(run)}", "code": text}))
    return blocks


def _axes(visit: Visit, params: Sequence[str], metric: str) -> tuple[str, str, str]:
    first = f"params.{params[0]}" if params else f"metrics.{metric}"
    chosen = [visit.query.get(name, "") for name in ("x", "y", "shade")]
    x, y, shade = (
        name if known_column(name) and "." in name else default
        for name, default in zip(chosen, (first, f"metrics.{metric}", f"metrics.{metric}"), strict=True)
    )
    return x, y, shade


def _axis(held: Sequence[Run], column: str) -> Axis:
    entity, key = split(column)
    if entity == "metric":
        return Axis(key, [run.metrics.get(key) for run in held])
    values: list[object] = [(run.params if entity == "param" else run.tags).get(key) for run in held]
    numbers = [_number(value) for value in values]
    if all(number is not None or value is None for number, value in zip(numbers, values, strict=True)):
        return Axis(key, numbers)
    return Axis(key, [None if value is None else words.plain(value) for value in values])


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def _telling(held: Sequence[Run], params: Sequence[str]) -> list[str]:
    """Params for the axes, the strongest first; texts that differ in nearly every run would only fill theirs."""
    names = [name for name in params if not (_distinct(held, name) > len(held) * 0.9 and isinstance(_first_value(held, name), str))]
    return (names or list(params))[: _AXES - 1]


def _distinct(held: Sequence[Run], name: str) -> int:
    return len({words.plain(run.params[name]) for run in held if name in run.params})


def _first_value(held: Sequence[Run], name: str) -> float | str | None:
    return next((value for value in _axis(held, f"params.{name}").values if value is not None), None)


def _liveliest(held: Sequence[Run], metrics: Sequence[str]) -> str:
    """The metric most runs have, sooner one measured on held-out data."""
    counts = {key: sum(key in run.metrics for run in held) for key in metrics}
    return max(
        metrics, key=lambda key: (not key.startswith("system/"), counts[key], any(word in key for word in words.HELD_OUT)), default=""
    )


def _changing(held: Sequence[Run], metrics: Sequence[str]) -> int:
    return sum(_differs([run.metrics.get(key) for run in held]) for key in metrics)


def _differs(values: Sequence[object]) -> bool:
    return len({repr(value) for value in values}) > 1


def _cell(kind: str, value: object) -> object:
    if value is None:
        return MISSING
    return metric_words(value) if kind == "metric" and isinstance(value, float) else words.plain(value)[:300]


def _bar(share: float) -> Markup:
    return Markup(
        '<svg class="chart bar-cell" viewBox="0 0 100 10" width="100" height="10" aria-hidden="true"><rect width="{:.1f}" height="10" class="accent" fill="currentColor"/></svg>'
    ).format(share * 100)


def _named(runs: Sequence[str], titles: dict[str, str]) -> Markup:
    shown = joined([link(titles[run], "runs", run) for run in runs[:6]], ", ")
    return shown + (f" and {len(runs) - 6} more" if len(runs) > 6 else "")  # noqa: PLR2004 - as many as fit a cell


def _short(column: str) -> str:
    return column.partition(".")[2]
