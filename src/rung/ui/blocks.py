"""What pages are made of. A page function gathers records and returns a ``Page`` of blocks; one template draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rung.client.transports import Transport
from rung.core.errors import Denied, NotFound
from rung.core.requests import Request
from rung.governance.records import WhoAmI
from rung.governance.rules import may
from rung.ui.charts.svg import Figure

A = TypeVar("A")
Cell = object  # a str is escaped by the template, Markup is not


@dataclass(frozen=True)
class Stats:
    """A few figures with their names; the third part is a tone."""

    items: Sequence[tuple[str, Cell, str]]
    kind: str = "stats"


@dataclass(frozen=True)
class Table:
    """Rows under column names."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: Cell = ""
    folded: bool = False
    tall: bool = False  # scrolls in itself, under a head that stays
    kind: str = "table"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    items: Sequence[tuple[str, Cell]]
    title: str = ""
    wide: bool = False  # in as many columns as there is room for
    kind: str = "facts"


@dataclass(frozen=True)
class Charts:
    """Charts side by side."""

    figures: Sequence[Figure]
    title: str = ""
    kind: str = "charts"


@dataclass(frozen=True)
class Words:
    """A paragraph, or with ``code`` a block of text kept as it is."""

    text: Cell
    title: str = ""
    code: bool = False
    kind: str = "words"


@dataclass(frozen=True)
class Empty:
    """Nothing yet: the command and the lines of Python that fill this place."""

    text: str
    command: str
    code: str = ""
    kind: str = "empty"


@dataclass(frozen=True)
class Station:
    """One place of the loop: what it is, how it stands in words, where it leads."""

    name: str
    state: str
    tone: str
    href: str


@dataclass(frozen=True)
class Loop:
    """The loop of one model."""

    model: str
    stations: Sequence[Station]
    kind: str = "loop"


@dataclass(frozen=True)
class Form:
    """One act: where it goes, hidden fields and those a person fills in (name, label, value)."""

    action: str
    label: str
    hidden: dict[str, str] = field(default_factory=dict)
    fields: Sequence[tuple[str, str, str]] = ()
    title: str = ""
    kind: str = "form"


@dataclass(frozen=True)
class Part:
    """A block with a template of its own, ``templates/<template>``, which sees ``values`` as ``v``."""

    template: str
    values: dict[str, Any]
    title: str = ""
    kind: str = "part"


@dataclass(frozen=True)
class Page:
    """A page: a headline sentence in words, blocks, the same as CLI, and the records it shows.

    A live page replaces headline and blocks every ``refresh_s``; ``still`` blocks follow them and stay as they are until
    ``shape`` changes.
    """

    title: str
    headline: str
    blocks: Sequence[Any]
    cli: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    live: bool = False
    refresh_s: int = 5
    still: Sequence[Any] = ()
    shape: str = ""
    scripts: Sequence[str] = ()


@dataclass(frozen=True)
class Visit:
    """One request for a page: who asks the platform, the parts of the address and the query."""

    transport: Transport
    path: dict[str, str]
    query: dict[str, str]
    many: dict[str, tuple[str, ...]] = field(default_factory=dict)  # every value of each part of the query

    def ask(self, request: Request[A]) -> A:
        """The answer of the platform. Raises the six errors."""
        return self.transport.call(request)

    def find(self, request: Request[A]) -> A | None:
        """The answer, or None where there is none or the visitor may not see it: for parts a page can do without."""
        try:
            return self.transport.call(request)
        except (NotFound, Denied):
            return None

    def may(self, permission: str) -> bool:
        """Whether the visitor's role holds a permission, to leave out buttons that would only be refused."""
        who = self.find(WhoAmI())
        return who is not None and may(who.role, permission)

    def number(self, name: str) -> int | None:
        """A number from the address. Raises NotFound."""
        value = self.path.get(name) or self.query.get(name)
        if value is None or value == "":
            return None
        if not value.isdecimal():
            raise NotFound(f"{value!r} is not a number.", code="ui.no_page", hint="Numbers of versions count from 1.")
        return int(value)


PageFunction = Callable[[Visit], Page]
