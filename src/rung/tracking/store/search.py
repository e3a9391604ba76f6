"""Search of runs in SQL: one index range where the order or a condition allows it, keyset pages always.

A page is found in one of three ways. Where a condition matches few runs, those are fetched and sorted. Where the first
order is a metric, the index of latest values is walked: runs with a number, then with NaN, then without the metric.
Otherwise the runs of the experiments are walked in the order wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import msgspec

from rung.core.errors import Invalid
from rung.core.filters import All, Compare, Either, Expression, Not, OrderBy
from rung.core.records import Page
from rung.storage.later import later, real
from rung.storage.sql import BigInteger, Connection, and_, case, func, literal, not_, or_, select, type_coerce
from rung.tracking.records import Run, View
from rung.tracking.rules import number_of
from rung.tracking.store.runs import RunStore
from rung.tracking.store.tables import EXPERIMENT, HEAD, INPUT, LATEST, PARAM, RUN, TAG

_FEW = 2000
_RANGES = 30  # as many ranges of an index are worth walking one after the other
_INDEXED = {"id", "parent", "pipeline_run"}
_INSTANTS = {"started_at", "ended_at"}
_NULLABLE = {"ended_at", "parent", "pipeline_run"}  # runs without the value come last


class _Term(msgspec.Struct, frozen=True):
    """One part of the order: rank (0 a value, 1 NaN, 2 none), value, and the table that has to be joined for them."""

    rank: Any
    value: Any
    descending: bool
    source: Any = None
    on: Any = None
    before: tuple[Any, ...] = ()  # what an index is sorted by ahead of the value, where that sorts alike


class RunSearch:
    """Search in the runs of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project
        self._sqlite = connection.dialect.name == "sqlite"
        self._ranges: Sequence[int] = ()  # experiments that are searched, where they are known

    def page(
        self, experiments: Sequence[int], expression: All, orders: Sequence[OrderBy], *, view: View, after: str | None, limit: int,
        points: bool = False,
    ) -> Page[Run]:  # fmt: skip
        """A page of runs by canonical names (``rules.canonical``); no experiments means all of them."""
        where = [RUN.c.project == self._project, *self._of_view(view)]
        self._ranges = experiments
        if experiments:
            where.append(RUN.c.experiment_number.in_(experiments))
        terms = [term for order in orders for term in self._terms(order)]
        held = _unmarked(after, len(terms)) if after is not None else None
        ranges = experiments or self._all_experiments()
        few = self._few(ranges, expression) if self._sqlite else None
        first = orders[0] if orders else None
        rows: list[Any] = []
        if few is None and first is not None and ranges and first.entity in {"metric", "param"}:
            walk = self._by_metric if first.entity == "metric" else self._by_param
            apart = self._sqlite and len(ranges) <= _RANGES  # within one range the index has the order wanted
            for some in [(number,) for number in ranges] if apart else [ranges]:
                inside = [*where, RUN.c.experiment_number.in_(some)]
                rows += walk(some, first, terms, inside, expression, held, limit + 1)
            rows = (_in_order(rows, terms) if apart else rows)[: limit + 1]
        elif few is None or few:
            parts = [self._meets(part) for part in expression.parts]
            # With few ids at hand no other index may be taken, which the sum hides from the planner.
            known = [] if few is None else [RUN.c.id.in_(few), RUN.c.project + "" == self._project]
            rows = self._rows(RUN, terms, [*(where if few is None else where[1:]), *known, *parts], held, limit + 1)
        mark = _marked(rows[limit - 1], len(terms)) if len(rows) > limit else None
        found = RunStore(self._connection, self._project).read([row["id"] for row in rows[:limit]], points=points)
        return Page(items=tuple(found), next=mark)

    def _rows(self, source: Any, terms: Sequence[_Term], where: list[Any], held: Any, limit: int) -> list[Any]:
        """Ids and marks only: what is sorted should be small."""
        for term in terms:
            if term.source is not None:
                source = source.outerjoin(term.source, term.on)
        marks = [part for n, term in enumerate(terms) for part in (term.rank.label(f"rank_{n}"), term.value.label(f"value_{n}"))]
        query = select(RUN.c.id, *marks).select_from(source).where(*where)
        if held is not None:
            query = query.where(_beyond(terms, held[0], held[1]))
        for term in terms:
            if not _is_constant(term.rank):
                query = query.order_by(term.rank)
            if not _is_constant(term.value):
                for value in (*term.before, term.value):
                    query = query.order_by(value.desc() if term.descending else value.asc())
        return list(self._connection.execute(query.order_by(RUN.c.id.desc()).limit(limit)).mappings().all())

    def _by_metric(
        self, experiments: Sequence[int], order: OrderBy, terms: list[_Term], where: list[Any], expression: All, held: Any, limit: int
    ) -> list[Any]:
        """Walk the index of latest values: numbers, then NaN, then runs without the metric."""
        mine: list[Compare] = []
        others: list[Expression] = []
        for part in expression.parts:
            if isinstance(part, Compare) and part.entity == "metric" and part.key == order.key and part.operator in _COMPARE:
                mine.append(part)
            else:
                others.append(part)
        where = where + [self._meets(part) for part in others]
        compared = [_compared(LATEST.c.value, part.operator, part.value) for part in mine]
        numbers = [_Term(literal(0), LATEST.c.value, order.descending), *terms[1:]]
        nans = [_Term(literal(1), _NOTHING, order.descending), *terms[1:]]
        phases = [(numbers, [LATEST.c.value.is_not(None), *compared]), (nans, [LATEST.c.is_nan.is_(True)])]
        # A comparison is never true of NaN or of nothing.
        return self._walk(LATEST, experiments, order, phases[:1] if mine else phases, terms, where, held, limit, missing=not mine)

    def _by_param(
        self, experiments: Sequence[int], order: OrderBy, terms: list[_Term], where: list[Any], expression: All, held: Any, limit: int
    ) -> list[Any]:
        """Walk the indexes of params: numbers, then other texts, then runs without the param."""
        where = where + [self._meets(part) for part in expression.parts]
        by_number = [_Term(literal(0), PARAM.c.number, order.descending), _Term(literal(0), PARAM.c.text, order.descending), *terms[2:]]
        by_text = [
            _Term(literal(1), _NOTHING, order.descending),
            _Term(literal(0), PARAM.c.text, order.descending, before=(PARAM.c.head,)), *terms[2:],
        ]  # fmt: skip
        phases = [(by_number, [PARAM.c.number.is_not(None)]), (by_text, [PARAM.c.number.is_(None)])]
        return self._walk(PARAM, experiments, order, phases, terms, where, held, limit, missing=True)

    def _walk(
        self, table: Any, experiments: Sequence[int], order: OrderBy, phases: list[Any], terms: list[_Term], where: list[Any], held: Any,
        limit: int, *, missing: bool,
    ) -> list[Any]:  # fmt: skip
        """One phase after the other, each along an index of ``table``, until the page is full."""
        rows: list[Any] = []
        of_key = [table.c.project == self._project, table.c.experiment_number.in_(experiments), table.c.key == order.key]
        start = held[0][0][0] if held else 0
        for rank, (ordered, conditions) in enumerate(phases):
            if rank >= start and len(rows) < limit:
                source = table.join(RUN, RUN.c.id == table.c.run)
                rows += self._rows(source, ordered, [*of_key, *conditions, *where], held if rank == start else None, limit - len(rows))
        if missing and len(rows) < limit:
            has = select(table.c.run).where(table.c.run == RUN.c.id, table.c.key == order.key).correlate(RUN).exists()
            blank = [_Term(literal(2), _NOTHING, order.descending)]
            if table is PARAM:
                blank.append(_Term(literal(0), literal(""), order.descending))
            rest = [*blank, *terms[len(blank) :]]
            rows += self._rows(RUN, rest, [~has, *where], held if start == 2 else None, limit - len(rows))  # noqa: PLR2004 - rank of nothing
        return rows

    def _all_experiments(self) -> Sequence[int]:
        """Every experiment of the project where they are few, so that an index that begins with them serves all runs."""
        if not self._sqlite:
            return ()
        query = select(EXPERIMENT.c.number).where(EXPERIMENT.c.project == self._project).limit(_RANGES + 1)
        numbers = self._connection.execute(query).scalars().all()
        return numbers if len(numbers) <= _RANGES else ()

    def _few(self, experiments: Sequence[int], expression: All) -> Sequence[str] | None:
        """Ids of the runs that the most selective condition leaves, if they are few; SQLite's planner cannot know that itself."""
        best: Sequence[str] | None = None
        for part in expression.parts:
            query = self._candidates(part) if isinstance(part, Compare) else None
            if query is None:
                continue
            held = query.selected_columns[0].table
            if experiments and held is not RUN:
                query = query.where(held.c.experiment_number.in_(experiments))
            most = _FEW if best is None else len(best)
            found = self._connection.execute(query.limit(most + 1)).scalars().all()
            if len(found) <= most:
                best = found
        return best

    def _candidates(self, part: Compare) -> Any:
        """The query of runs that meet a condition by an index, None where there is none."""
        if part.entity == "attribute" and part.key in _INDEXED and part.operator in {"=", "in"}:
            return select(RUN.c.id).where(
                RUN.c.project + "" == self._project if part.key == "id" else RUN.c.project == self._project,
                _compared(RUN.c[part.key], part.operator, part.value),
            )
        if part.entity in {"param", "tag"} and part.operator == "=" and isinstance(part.value, str):
            source, column = (PARAM, PARAM.c.text) if part.entity == "param" else (TAG, TAG.c.value)
            query = select(source.c.run).where(source.c.project == self._project, source.c.key == part.key)
            return query.where(source.c.head == part.value[:HEAD], column == part.value)
        if part.entity == "metric" and part.operator in {"=", "<", "<=", ">", ">="}:
            query = select(LATEST.c.run).where(LATEST.c.project == self._project, LATEST.c.key == part.key)
            return query.where(_compared(LATEST.c.value, part.operator, part.value))
        return None

    def _of_view(self, view: View) -> list[Any]:
        if view == "all":
            return []
        return [RUN.c.deleted_at.is_not(None) if view == "deleted" else RUN.c.deleted_at.is_(None)]

    def _meets(self, part: Expression) -> Any:
        """The SQL of an expression that the rules have passed."""
        if isinstance(part, All):
            return and_(*(self._meets(item) for item in part.parts)) if part.parts else literal(1) == 1
        if isinstance(part, Either):
            return or_(*(self._meets(item) for item in part.parts))
        if isinstance(part, Not):
            return not_(self._meets(part.part))
        if part.entity == "attribute":
            return self._attribute(part)
        if part.entity == "dataset":
            has = select(INPUT.c.run).where(INPUT.c.run == RUN.c.id).correlate(RUN)
            return has.where(self._text(INPUT.c[part.key], part.operator, part.value)).exists()
        source, column = {"param": (PARAM, PARAM.c.text), "tag": (TAG, TAG.c.value), "metric": (LATEST, LATEST.c.value)}[part.entity]
        has = select(source.c.run).where(source.c.run == RUN.c.id, source.c.key == part.key).correlate(RUN)
        if part.operator in {"missing", "present"}:
            return ~has.exists() if part.operator == "missing" else has.exists()
        if part.operator == "=" and isinstance(part.value, str) and not self._sqlite and part.entity != "metric":
            # PostgreSQL's planner may then start here, at an index, where few runs have the value.
            has = has.where(source.c.project == self._project, source.c.head == part.value[:HEAD])
            if self._ranges:
                has = has.where(source.c.experiment_number.in_(self._ranges))
        if part.entity == "param" and number_of(part.value) is not None:
            column = PARAM.c.number
        numeric = part.entity == "metric" or column is PARAM.c.number
        compared = _compared(column, part.operator, part.value) if numeric else self._text(column, part.operator, part.value)
        return has.where(compared).exists()

    def _attribute(self, part: Compare) -> Any:
        if part.key == "experiment":
            number = select(EXPERIMENT.c.number).where(EXPERIMENT.c.project == self._project)
            return RUN.c.experiment_number.in_(number.where(self._text(EXPERIMENT.c.name, part.operator, part.value)))
        column = RUN.c[part.key]
        if part.operator in {"missing", "present"}:
            return column.is_(None) if part.operator == "missing" else column.is_not(None)
        if part.key in _INSTANTS:
            return _compared(type_coerce(column, BigInteger), part.operator, part.value)
        return self._text(column, part.operator, part.value) if part.key != "number" else _compared(column, part.operator, part.value)

    def _text(self, column: Any, how: str, value: Any) -> Any:
        if how not in {"like", "ilike"}:
            return _compared(column, how, value)
        if self._sqlite:  # its LIKE ignores case, its GLOB does not
            return column.like(value) if how == "ilike" else column.op("GLOB")(_glob(value))
        pattern = value.replace("\\", "\\\\")
        return column.like(pattern) if how == "like" else column.ilike(pattern)

    def _terms(self, order: OrderBy) -> list[_Term]:
        if order.entity == "attribute":
            column = RUN.c[order.key]
            value = type_coerce(column, BigInteger) if order.key in _INSTANTS else column
            rank = case((column.is_(None), 2), else_=0) if order.key in _NULLABLE else literal(0)
            return [_Term(rank, value, order.descending)]
        source = {"metric": LATEST, "param": PARAM, "tag": TAG}[order.entity].alias()
        on = and_(source.c.run == RUN.c.id, source.c.key == order.key)
        missing = (source.c.run.is_(None), 2)
        if order.entity == "metric":
            return [_Term(case(missing, (source.c.is_nan, 1), else_=0), source.c.value, order.descending, source, on)]
        if order.entity == "tag":
            return [_Term(case(missing, else_=0), source.c.value, order.descending, source, on)]
        # Params that are numbers by number, then the others by text.
        rank = case(missing, (source.c.number.is_(None), 1), else_=0)
        return [
            _Term(rank, source.c.number, order.descending, source, on),
            _Term(literal(0), func.coalesce(source.c.text, ""), order.descending),
        ]


_NOTHING = later(lambda: literal(None))
_COMPARE = {"=", "!=", "<", "<=", ">", ">="}


def _is_constant(value: Any) -> bool:
    return bool(real(value).__visit_name__ == "bindparam")


def _compared(column: Any, how: str, value: Any) -> Any:
    if how in {"in", "not_in"}:
        return column.in_(value) if how == "in" else column.not_in(value)
    return {"=": column.__eq__, "!=": column.__ne__, "<": column.__lt__, "<=": column.__le__, ">": column.__gt__, ">=": column.__ge__}[how](
        value
    )


def _glob(pattern: str) -> str:
    """A LIKE pattern as a GLOB: % any characters, _ one; what GLOB itself reads as a sign is put in brackets."""
    signs = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}
    return "".join(signs.get(character, character) for character in pattern)


def _marked(row: Any, terms: int) -> str:
    parts = [[row[f"rank_{n}"], row[f"value_{n}"]] for n in range(terms)]
    return msgspec.json.encode([parts, row["id"]]).decode()


def _unmarked(after: str, terms: int) -> Any:
    try:
        held = msgspec.json.decode(after, type=tuple[list[tuple[int, int | float | str | None]], str])
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError):
        held = None
    if held is None or len(held[0]) != terms:
        raise Invalid(
            f"{after[:100]!r} is not the mark of a page.", code="tracking.bad_page", hint="Pass the `next` of the page before, with the same order."
        )  # fmt: skip
    return held


def _in_order(rows: list[Any], terms: Sequence[_Term]) -> list[Any]:
    """Rows in the order that SQLite gives them: from the last term to the first, each sort keeps what is equal."""
    rows.sort(key=itemgetter("id"), reverse=True)
    for n in reversed(range(len(terms))):
        rows.sort(key=partial(_sortable, f"value_{n}"), reverse=terms[n].descending)
        rows.sort(key=itemgetter(f"rank_{n}"))
    return rows


def _sortable(name: str, row: Any) -> tuple[bool, Any]:
    return row[name] is not None, row[name]


def _beyond(terms: Sequence[_Term], held: Sequence[Any], run: str) -> Any:
    """Rows after the held one in the order of the terms, then of descending ids."""
    if not terms:
        return RUN.c.id < run
    term, (rank, last) = terms[0], held[0]
    rest = _beyond(terms[1:], held[1:], run)
    constant = _is_constant(term.rank)
    if last is None:
        same = rest
    else:
        further = term.value < last if term.descending else term.value > last
        if term.before:  # a text by its head first, which under some collations is not the order of the texts
            head, held_head = term.before[0], last[:HEAD]
            further = or_(head < held_head if term.descending else head > held_head, and_(head == held_head, further))
        same = or_(further, and_(term.value == last, rest))
    return same if constant else or_(term.rank > rank, and_(term.rank == rank, same))
