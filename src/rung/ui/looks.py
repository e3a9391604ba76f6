"""How the table of runs is looked at, as it stands in the address: filter, order, columns, page, selection.

Everything a person has set is in the address, so a link shows the same to everybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlencode

from rung.core.errors import Invalid
from rung.core.filters import parse_order
from rung.ui.blocks import Visit

View = Literal["active", "deleted", "all"]
ENTITY = {"metrics": "metric", "params": "param", "tags": "tag"}
PLURAL = {"metric": "metrics", "param": "params", "tag": "tags", "attribute": "attributes"}
ATTRIBUTES = ("name", "status", "started_at", "ended_at", "created_by", "git_commit", "number")
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*\Z")
_MOST_BACK = 40
_MOST_COLUMNS = 40
_MOST_SELECTED = 500


@dataclass(frozen=True)
class Look:
    """One way of looking at runs; ``base`` is the address of the page without its query."""

    base: str = "/runs"
    where: str = ""
    order: str = ""
    columns: tuple[str, ...] = ()
    after: str = ""
    back: tuple[str, ...] = ()
    selected: tuple[str, ...] = ()
    expanded: tuple[str, ...] = ()
    view: View = "active"
    flat: bool = False

    @property
    def alone(self) -> bool:
        """Whether all runs are of one experiment, which need not be named in every row then."""
        return self.base != "/runs"

    def href(self, **changes: object) -> str:
        """The address of this look with some parts changed."""
        look = replace(self, **changes)  # type: ignore[arg-type]  # fields by name, each checked where it is read
        pairs = [("where", look.where), ("order", look.order), *(("col", name) for name in look.columns)]
        pairs += [("view", look.view if look.view != "active" else ""), ("flat", "1" if look.flat else "")]
        pairs += [*(("back", mark) for mark in look.back), ("after", look.after), *(("open", run) for run in look.expanded)]
        pairs.append(("sel", ",".join(look.selected)))
        query = urlencode([(name, value) for name, value in pairs if value or name == "back"])
        return f"{look.base}?{query}" if query else look.base

    def first(self, **changes: object) -> str:
        """The address of the first page of another look."""
        return self.href(**{"after": "", "back": (), "expanded": (), **changes})

    def next(self, mark: str) -> str:
        """The address of the page behind a mark."""
        return self.href(after=mark, back=(*self.back, self.after)[-_MOST_BACK:], expanded=())

    def previous(self) -> str:
        """The address of the page before this one."""
        return self.href(after=self.back[-1] if self.back else "", back=self.back[:-1], expanded=())

    def toggled(self, run: str) -> str:
        """The address where the children of a run are shown, or no longer."""
        held = tuple(item for item in self.expanded if item != run)
        return self.href(expanded=held if run in self.expanded else (*self.expanded, run))

    def sorted_by(self, column: str) -> str:
        """The address sorted by a column: descending first, then ascending, then as if nothing was said."""
        down, up = ordered(column, descending=True), ordered(column, descending=False)
        held = self.direction(column)
        return self.first(order=up if held == "descending" else "" if held == "ascending" else down)

    def direction(self, column: str) -> str:
        """``ascending`` or ``descending`` where the table is sorted by a column, else empty."""
        if not self.order:
            return ""
        try:
            held = parse_order(self.order)
        except Invalid:
            return ""
        if (held.entity, held.key) != split(column):
            return ""
        return "descending" if held.descending else "ascending"


def look_of(visit: Visit, base: str = "/runs") -> Look:
    """The look that an address describes; what makes no sense in it is left out."""
    query, many = visit.query, visit.many
    view = query.get("view", "")
    legacy = "status = 'failed'" if query.get("status") == "failed" else ""
    return Look(
        base=base,
        where=query.get("where", "").strip() or legacy,
        order=query.get("order", "").strip(),
        columns=tuple(dict.fromkeys(name for name in many.get("col", ()) if known_column(name)))[:_MOST_COLUMNS],
        after=query.get("after", ""),
        back=many.get("back", ())[-_MOST_BACK:],
        selected=ids(query.get("sel", "")),
        expanded=ids(",".join(many.get("open", ()))),
        view="deleted" if view == "deleted" else "all" if view == "all" else "active",
        flat=query.get("flat") == "1",
    )


def ids(text: str) -> tuple[str, ...]:
    """Run ids joined by commas or lines, each once; what is no id is left out."""
    parts = (part.strip() for part in re.split(r"[,\s]+", text))
    return tuple(dict.fromkeys(part for part in parts if re.fullmatch(r"[0-9a-f]{32}", part)))[:_MOST_SELECTED]


def known_column(name: str) -> bool:
    """Whether a column can be shown: ``metrics.x``, ``params.x``, ``tags.x`` or an attribute."""
    group, dot, key = name.partition(".")
    return (group in ENTITY and bool(dot) and bool(key)) or name in ATTRIBUTES


def split(column: str) -> tuple[str, str]:
    """Entity and key of a column."""
    group, dot, key = column.partition(".")
    return (ENTITY[group], key) if dot and group in ENTITY else ("attribute", column)


def named(column: str) -> str:
    """A column as a filter spells it; keys with odd characters stand in quotes."""
    entity, key = split(column)
    if entity == "attribute":
        return key
    written = key if _PLAIN.match(key) else '"' + key.replace('"', '""') + '"'
    return f"{PLURAL[entity]}.{written}"


def ordered(column: str, *, descending: bool) -> str:
    """An order by a column."""
    return f"{named(column)} {'DESC' if descending else 'ASC'}"
