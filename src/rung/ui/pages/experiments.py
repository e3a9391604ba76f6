"""Experiments: the list with sizes, and one experiment with its runs."""

from __future__ import annotations

from markupsafe import Markup

from rung.tracking.records import Experiment, GetExperiment, SearchExperiments
from rung.tracking.views import ExperimentSize, SizeExperiments
from rung.ui import words
from rung.ui.blocks import Empty, Form, Page, Part, Table, Visit, Words
from rung.ui.looks import look_of
from rung.ui.markdown import first_line, rendered
from rung.ui.pages.runs import table_page
from rung.ui.words import MISSING, link, pill, when

_PAGE = 100
_EMPTY = 'import rung\n\nwith rung.start_run(experiment="first"):\n    rung.log_metric("auc", 0.71)'

_MAKE = Part(
    "fold.html",
    {"title": "Make an experiment", "forms": [Form("/act/make-experiment", "Make", {}, (("name", "Name", ""), ("note", "Note", "")))]},
)


def experiments(visit: Visit) -> Page:
    """Experiments, newest first; deleted ones where the address asks for them."""
    deleted = visit.query.get("view") == "deleted"
    found = visit.ask(SearchExperiments(view="deleted" if deleted else "active", after=visit.query.get("after") or None, limit=_PAGE))
    sizes = {size.number: size for size in visit.ask(SizeExperiments(experiments=tuple(item.number for item in found.items)))}
    other = ("/experiments", "Experiments in use") if deleted else ("/experiments?view=deleted", "Deleted experiments")
    links = [Markup('<a href="{}">{}</a>').format(*other)]
    if found.next:
        links.append(
            Markup('<a href="/experiments?{}">Older experiments</a>').format(
                words.query(view="deleted" if deleted else "", after=found.next)
            )
        )
    below = Words(words.joined(links, " · "))
    data = {"experiments": found, "sizes": tuple(sizes.values())}
    if not found.items:
        head = "No experiment is deleted." if deleted else "No experiment has been made yet."
        blank = Empty("An experiment is a question that runs try to answer.", "rung experiments list", _EMPTY)
        return Page("Experiments", head, [below] if deleted else [blank, _MAKE, below], "rung experiments list", data)
    rows = [_row(item, sizes[item.number]) for item in found.items]
    head = f"{words.many(len(rows), 'deleted experiment' if deleted else 'experiment')} with {words.many(sum(s.runs for s in sizes.values()), 'run')}."
    table = Table(("experiment", "runs", "newest run", "note", "made", "by"), rows)
    return Page(
        "Experiments",
        head,
        [table],
        "rung experiments list",
        data,
        live=not deleted,
        refresh_s=15,
        still=[below] if deleted else [_MAKE, below],
    )


def experiment(visit: Visit) -> Page:
    """One experiment by its number, with its runs."""
    held = visit.ask(GetExperiment(number=visit.number("experiment")))
    (size,) = visit.ask(SizeExperiments(experiments=(held.number,)))
    facts: list[tuple[str, object]] = [("number", str(held.number)), ("made", when(held.created_at)), ("by", held.created_by)]
    facts += [(f"tag {name}", value) for name, value in sorted(held.tags.items()) if not name.startswith("mlflow.")]
    note = held.note or held.tags.get("mlflow.note.content", "")
    above: list[object] = [Part("words.html", {"text": rendered(note)})] if note else []
    more = Part("fold.html", {"title": "About this experiment", "facts": facts, "forms": _acts(held)})
    state = " is deleted" if held.deleted_at else ""
    said = f"{held.name}{state} has {words.many(size.runs, 'run')}" + (f" and {size.deleted:,} deleted" if size.deleted else "") + ". "
    page = table_page(
        visit,
        look_of(visit, words.address("experiments", held.number)),
        "Experiment",
        (held.number,),
        f"rung runs list -e {held.number}",
        [*above, more],
        said,
    )
    return Page(
        page.title,
        page.headline,
        page.blocks,
        f"rung experiments show {held.number}",
        {**page.data, "experiment": held, "size": size},
        scripts=page.scripts,
    )


def _acts(held: Experiment) -> list[Form]:
    hidden = {"experiment": str(held.number)}
    if held.deleted_at:
        return [Form("/act/restore-experiment", "Restore", hidden)]
    return [
        Form("/act/change-experiment", "Save", hidden, (("name", "Name", held.name), ("note", "Note", held.note))),
        Form("/act/delete-experiment", "Delete", hidden),
    ]


def _row(held: Experiment, size: ExperimentSize) -> tuple[object, ...]:
    newest = link(when(size.newest_at), "runs", size.newest) if size.newest else MISSING
    name: object = link(held.name, "experiments", held.number)
    shown = words.joined([name, pill("deleted", "bad")]) if held.deleted_at else name
    return (
        shown,
        f"{size.runs:,}",
        newest,
        first_line(held.note or held.tags.get("mlflow.note.content", "")) or MISSING,
        when(held.created_at),
        held.created_by,
    )
