"""The table of runs: filter, order, columns, pages, children, selection, saved views; of all runs or of one experiment."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rung.core.errors import Invalid
from rung.core.filters import parse_order
from rung.core.records import Page as Found
from rung.tracking.records import Run, SearchRuns
from rung.tracking.views import ListKeys, ListViews, SavedView
from rung.ui import words
from rung.ui.blocks import Empty, Page, Part, Visit, Words
from rung.ui.looks import Look, look_of, named, split
from rung.ui.words import MISSING, link, number, pill, when

_PAGE = 50
_FIRST_METRICS, _FIRST_PARAMS = 5, 4
_RARE = 6  # a column is worth its place when one run in so many has a value
_KEYS = 60
_MOST_CHILDREN = 500
_BUSY_S, _QUIET_S = 4, 15  # how often the first page looks for news, in seconds
_FIXED = (("experiment", ""), ("state", "status"), ("started", "started_at"), ("took", ""), ("by", "created_by"))
_EMPTY = 'import rung\n\nwith rung.start_run(experiment="first"):\n    rung.log_param("depth", 4)\n    rung.log_metric("auc", 0.71)'
_EXAMPLES = (
    "status = 'failed'",
    "name LIKE '%tree%' AND tags.team IS NOT NULL",
    "started_at > '2026-01-01T00:00:00Z'",
    "NOT parent IS NULL",
)
SCRIPTS = ("htmx.min.js", "runs.js")


def runs(visit: Visit) -> Page:
    """Runs of the project, newest first or as the address says."""
    experiment = visit.query.get("experiment") or None
    return table_page(visit, look_of(visit), "Runs", (experiment,) if experiment else (), "rung runs list")


def table_page(
    visit: Visit, look: Look, title: str, experiments: tuple[str | int, ...], command: str, above: Sequence[object] = (), note: str = ""
) -> Page:
    """The page of a table of runs.

    Args:
        visit: whoever looks.
        look: what the address says.
        title: of the page.
        experiments: whose runs; none means all.
        command: the same on the command line.
        above: blocks between headline and table.
        note: what the headline begins with.
    """
    nested = not (look.where or look.order or look.flat)
    problem, found = "", Found[Run](items=())
    try:
        found = _found(visit, look, experiments, nested=nested)
    except Invalid as error:
        problem = f"{error.message} {error.hint or ''}"
    if not found.items and not problem and not look.where and not look.after and look.view == "active":
        blank = Empty("A run is one attempt at an experiment, with its numbers.", "rung runs list", _EMPTY)
        more = Markup('<a href="{}">Deleted runs</a>').format(look.first(view="deleted"))
        return Page(
            title, note or "No run has been logged yet.", [*above, blank, Words(more)], command, {"runs": ()}, live=True, scripts=SCRIPTS
        )
    columns = look.columns or _columns_of(found.items)
    children = _children(visit, found.items) if nested else {}
    values = {
        "look": look, "head": _head(look, columns), "rows": _rows(look, columns, found.items, children), "next": found.next, "problem": problem,
        "selected": look.selected, "columns": columns, "nested": nested, "examples": _examples(columns), "views": _views(visit, look),
        "groups": _picker(visit, look, columns, experiments), "find": visit.query.get("find", ""), "every_s": 0 if look.after else _BUSY_S if _busy(found.items) else _QUIET_S,
        "searches": bool(look.where or look.order), "experiment": experiments[0] if experiments and isinstance(experiments[0], int) else "",
    }  # fmt: skip
    said = command + (f" -w {_shell(look.where)}" if look.where else "") + (f" --sort {_shell(look.order)}" if look.order else "")
    data = {"runs": found, "columns": columns, "problem": problem}
    return Page(
        title,
        note + _headline(look, found, problem, sum(map(len, children.values()))),
        [*above, Part("runs.html", values)],
        said,
        data,
        scripts=SCRIPTS,
    )


def run_title(held: Run) -> str:
    """Experiment and number, and the name where it says more."""
    number_ = f"{held.experiment}:{held.number}"
    return number_ if held.name in {"", number_, f"{held.experiment}-{held.number}"} else f"{number_} {held.name}"


def value_of(held: Run, column: str) -> object:
    """What a run shows in a column."""
    entity, key = split(column)
    if entity == "metric":
        return metric_words(held.metrics[key]) if key in held.metrics else MISSING
    if entity == "param":
        return words.plain(held.params[key]) if key in held.params else MISSING
    if entity == "tag":
        return held.tags.get(key, MISSING)
    shown = getattr(held, key)
    return when(shown) if key.endswith("_at") else pill(shown) if key == "status" else words.digest(shown) if key == "git_commit" else shown


def metric_words(value: float) -> str:
    """A metric's value; what is not finite says what it is."""
    if value != value:  # noqa: PLR0124 - NaN is what differs from itself
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "∞" if value > 0 else "−∞"
    return number(value)


def _found(visit: Visit, look: Look, experiments: tuple[str | int, ...], *, nested: bool) -> Found[Run]:
    return visit.ask(
        SearchRuns(
            experiments=experiments, filter="parent IS NULL" if nested else look.where, order_by=(look.order,) if look.order else (),
            after=look.after or None, limit=_PAGE, view=look.view,
        )
    )  # fmt: skip


def _children(visit: Visit, held: Sequence[Run]) -> dict[str, list[Run]]:
    """Children of the runs of a page, newest first, in one request."""
    if not held:
        return {}
    wanted = ", ".join(f"'{run.id}'" for run in held)
    found: dict[str, list[Run]] = {}
    for child in visit.ask(SearchRuns(filter=f"parent IN ({wanted})", limit=_MOST_CHILDREN)).items:
        found.setdefault(str(child.parent), []).append(child)
    return found


def _columns_of(held: Sequence[Run]) -> tuple[str, ...]:
    """The metrics and params that most runs of the page have, where nobody chose; what hardly any has only where nothing else is there."""
    chosen: list[str] = []
    for group, most in (("metrics", _FIRST_METRICS), ("params", _FIRST_PARAMS)):
        counts: dict[str, int] = {}
        for run in held:
            for key in getattr(run, group):
                counts[key] = counts.get(key, 0) + 1
        order = sorted(counts, key=lambda key: (key.startswith("system/"), -counts[key], key))[:most]
        common = [key for key in order if counts[key] * _RARE >= len(held)]
        chosen += [f"{group}.{key}" for key in common or order]
    return tuple(chosen)


def _head(look: Look, columns: Sequence[str]) -> list[dict[str, str]]:
    """Column heads: words, what kind of value stands below, where a click leads, how it is sorted now."""
    fixed = [("run", "name"), *(_FIXED[1:] if look.alone else _FIXED)]
    head = [
        {"words": shown, "group": "", "href": look.sorted_by(name) if name else "", "sorted": look.direction(name) if name else ""}
        for shown, name in fixed
    ]
    for column in columns:
        entity, key = split(column)
        group = "" if entity == "attribute" else entity
        head.append({"words": key, "group": group, "href": look.sorted_by(column), "sorted": look.direction(column)})
    return head


def _rows(look: Look, columns: Sequence[str], held: Sequence[Run], children: dict[str, list[Run]]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for run in held:
        below = children.get(run.id, [])
        rows.append(_row(look, columns, run, len(below), child=False))
        if run.id in look.expanded:
            rows += [_row(look, columns, item, 0, child=True) for item in below]
    return rows


def _row(look: Look, columns: Sequence[str], held: Run, below: int, *, child: bool) -> dict[str, object]:
    experiment = [] if look.alone else [link(held.experiment, "experiments", held.experiment_number)]
    cells = [*experiment, pill(held.status), when(held.started_at), words.took(held.started_at, held.ended_at), held.created_by]
    title = run_title(held)
    shown = title.removeprefix(f"{held.experiment}:") if look.alone else title
    return {
        "id": held.id, "title": title, "shown": shown, "href": words.address("runs", held.id), "selected": held.id in look.selected, "child": child,
        "below": below, "open": held.id in look.expanded, "toggle": look.toggled(held.id) if below else "",
        "cells": [*cells, *(value_of(held, column) for column in columns)], "numeric": [False] * len(cells) + [c.startswith("metrics.") for c in columns],
        "parent": words.address("runs", held.parent) if held.parent and not child else "",
    }  # fmt: skip


def _picker(visit: Visit, look: Look, columns: Sequence[str], experiments: tuple[str | int, ...]) -> list[dict[str, object]]:
    """Names that can become columns, by group; those that are chosen come first."""
    numbers = tuple(item for item in experiments if isinstance(item, int))
    groups = []
    for kind, plural in (("metric", "metrics"), ("param", "params"), ("tag", "tags")):
        chosen = [split(column)[1] for column in columns if split(column)[0] == kind]
        known = visit.ask(ListKeys(kind=kind, experiments=numbers, contains=visit.query.get("find", "")[:200], limit=_KEYS))  # type: ignore[arg-type]  # one of three literals
        names = [*chosen, *(key for key in known if key not in chosen and (visit.query.get("find") or not key.startswith("mlflow.")))]
        groups.append({"name": plural, "keys": [(f"{plural}.{key}", key, key in chosen) for key in names], "full": len(known) == _KEYS})
    return groups


def _views(visit: Visit, look: Look) -> list[dict[str, object]]:
    return [{"name": view.name, "href": _look(view).href()} for view in visit.find(ListViews()) or ()]


def _look(view: SavedView) -> Look:
    base = "/runs" if view.experiment is None else words.address("experiments", view.experiment)
    return Look(base=base, where=view.filter, order=view.order_by, columns=view.columns)


def _examples(columns: Sequence[str]) -> list[str]:
    """Filters that make sense here, written with names that runs have."""
    own = [f"{named(column)} > 0.5" for column in columns if column.startswith("metrics.")][:1]
    own += [f"{named(column)} IS NOT NULL" for column in columns if column.startswith("params.")][:1]
    if len(own) > 1:
        own.append(f"{own[0]} AND ({own[1]} OR status = 'failed')")
    return [*own, *_EXAMPLES]


def _headline(look: Look, found: Found[Run], problem: str, below: int) -> str:
    if problem:
        return "The filter or the order cannot be read."
    if not found.items:
        return "No run meets the filter." if look.where else "No more runs." if look.after else "No deleted runs."
    bad = sum(run.status == "failed" for run in found.items)
    order = "newest first" if not look.order else f"by {_order_words(look.order)}"
    kind = {"active": "run", "deleted": "deleted run", "all": "run"}[look.view]
    count = f"{len(found.items):,}" if look.alone else words.many(len(found.items), kind)
    folded = f", {words.many(below, 'child run')} folded below" if below and not look.expanded else ""
    return f"{count} shown, {order}{folded}" + (f"; {bad} failed." if bad else "; none failed.")


def _order_words(order: str) -> str:
    """An order that has been understood, without the signs of the filter language."""
    held = parse_order(order)
    return f"{held.key}, {'descending' if held.descending else 'ascending'}"


def _busy(held: Sequence[Run]) -> bool:
    return any(run.status in {"running", "scheduled"} for run in held)


def _shell(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
