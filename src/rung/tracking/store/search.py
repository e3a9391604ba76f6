"""Search of runs in SQL: one index range where the order or a condition allows it, keyset pages always.

A page is found in one of three ways. Where a condition matches few runs, those are fetched and sorted. Where the first
order is a metric, the index of latest values is walked: runs with a number, then with NaN, then without the metric.
Otherwise the runs of the experiments are walked in the order wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, and_, case, func, literal, not_, or_, select, type_coerce

from rung.core.errors import Invalid
from rung.core.filters import All, Compare, Either, Expression, Not, OrderBy
from rung.core.records import Page
from rung.tracking.records import Run, View
from rung.tracking.rules import number_of
from rung.tracking.store.runs import RunStore
from rung.tracking.store.tables import EXPERIMENT, HEAD, INPUT, LATEST, PARAM, RUN, TAG

_FEW = 2000
_INSTANTS = {"started_at", "ended_at"}
_NULLABLE = {"ended_at", "parent", "pipeline_run"}  # runs without the value come last


@dataclass(frozen=True)
class _Term:
    """One part of the order: rank (0 a value, 1 NaN, 2 none), value, and the table that has to be joined for them."""

    rank: Any
    value: Any
    descending: bool
    source: Any = None
    on: Any = None


class RunSearch:
    """Search in the runs of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project
        self._sqlite = connection.dialect.name == "sqlite"

    def page(
        self, experiments: Sequence[int], expression: All, orders: Sequence[OrderBy], *, view: View, after: str | None, limit: int,
        points: bool = False,
    ) -> Page[Run]:  # fmt: skip
        """A page of runs by canonical names (``rules.canonical``); no experiments means all of them."""
        where = [RUN.c.project == self._project, *self._of_view(view)]
        if experiments:
            where.append(RUN.c.experiment_number.in_(experiments))
        terms = [term for order in orders for term in self._terms(order)]
        held = _unmarked(after, len(terms)) if after is not None else None
        few = self._few(experiments, expression) if self._sqlite else None
        if few is not None:
            where.append(RUN.c.id.in_(few))
        first = orders[0] if orders else None
        if few is None and first is not None and first.entity == "metric" and experiments:
            rows = self._by_metric(experiments, first, terms, [*where], expression, held, limit + 1)
        else:
            where += [self._meets(part) for part in expression.parts]
            rows = self._rows(select(RUN), RUN, terms, where, held, limit + 1)
        more = len(rows) > limit
        mark = _marked(rows[limit - 1], len(terms)) if more else None
        return Page(items=tuple(self._runs(rows[:limit], points=points)), next=mark)

    def _runs(self, rows: Sequence[Any], *, points: bool) -> list[Run]:
        numbers = {row["experiment_number"] for row in rows}
        query = select(EXPERIMENT.c.number, EXPERIMENT.c.name).where(
            EXPERIMENT.c.project == self._project, EXPERIMENT.c.number.in_(numbers)
        )
        names = dict(self._connection.execute(query).all()) if rows else {}
        return RunStore(self._connection, self._project).filled(
            [{**row, "experiment": names[row["experiment_number"]]} for row in rows], points=points
        )

    def _rows(self, query: Any, source: Any, terms: Sequence[_Term], where: list[Any], held: Any, limit: int) -> list[Any]:
        for term in terms:
            if term.source is not None:
                source = source.outerjoin(term.source, term.on)
        marks = [part for n, term in enumerate(terms) for part in (term.rank.label(f"rank_{n}"), term.value.label(f"value_{n}"))]
        query = query.add_columns(*marks).select_from(source).where(*where)
        if held is not None:
            query = query.where(_beyond(terms, held[0], held[1]))
        for term in terms:
            if not isinstance(term.rank, _CONSTANT):
                query = query.order_by(term.rank)
            query = query.order_by(term.value.desc() if term.descending else term.value.asc())
        found = self._connection.execute(query.order_by(RUN.c.id.desc()).limit(limit)).mappings().all()
        return [dict(row) for row in found]

    def _by_metric(
        self, experiments: Sequence[int], order: OrderBy, terms: list[_Term], where: list[Any], expression: All, held: Any, limit: int
    ) -> list[Any]:
        """Walk the index of latest values: numbers, then NaN, then runs without the metric."""
        mine, others = [], []
        for part in expression.parts:
            same = isinstance(part, Compare) and part.entity == "metric" and part.key == order.key and part.operator in _COMPARE
            (mine if same else others).append(part)
        where = where + [self._meets(part) for part in others]
        of_key = [
            LATEST.c.project == self._project, LATEST.c.experiment_number.in_(experiments), LATEST.c.key == order.key,
        ]  # fmt: skip
        rows: list[Any] = []
        for phase in range(held[0][0][0] if held else 0, 3):
            if phase and mine:  # a comparison is never true of NaN or of nothing
                break
            here = held if held and held[0][0][0] == phase else None
            value = LATEST.c.value if phase == 0 else literal(None)
            rest = [_Term(literal(phase), value, terms[0].descending), *terms[1:]]
            if phase == 2:  # noqa: PLR2004 - rank of what is missing
                has = select(LATEST.c.run).where(LATEST.c.run == RUN.c.id, LATEST.c.key == order.key).correlate(RUN).exists()
                source, conditions = RUN, [~has, *where]
            else:
                source = LATEST.join(RUN, RUN.c.id == LATEST.c.run)
                state = LATEST.c.value.is_not(None) if phase == 0 else LATEST.c.is_nan.is_(True)
                compared = [_compared(LATEST.c.value, part.operator, part.value) for part in mine if isinstance(part, Compare)]
                conditions = [*of_key, state, *compared, *where]
            rows += self._rows(select(RUN), source, rest, conditions, here, limit - len(rows))
            if len(rows) >= limit:
                break
        return rows

    def _few(self, experiments: Sequence[int], expression: All) -> list[str] | None:
        """Ids of the runs that the most selective condition leaves, if they are few; SQLite's planner cannot know that itself."""
        best: list[str] | None = None
        for part in expression.parts:
            query = self._candidates(part) if isinstance(part, Compare) else None
            if query is None:
                continue
            if experiments:
                query = query.where(query.selected_columns.run.table.c.experiment_number.in_(experiments))
            found = list(self._connection.execute(query.limit(_FEW + 1)).scalars())
            if len(found) <= _FEW and (best is None or len(found) < len(best)):
                best = found
            if best is not None and len(best) <= _FEW // 20:
                break
        return best

    def _candidates(self, part: Compare) -> Any:
        """The query of runs that meet a condition by an index, None where there is none."""
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
        if part.entity == "param" and number_of(part.value) is not None:  # type: ignore[arg-type]  # tuples are no numbers
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


_CONSTANT = type(literal(0))
_COMPARE = {"=", "!=", "<", "<=", ">", ">="}


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


def _beyond(terms: Sequence[_Term], held: Sequence[Any], run: str) -> Any:
    """Rows after the held one in the order of the terms, then of descending ids."""
    if not terms:
        return RUN.c.id < run
    term, (rank, last) = terms[0], held[0]
    rest = _beyond(terms[1:], held[1:], run)
    constant = isinstance(term.rank, _CONSTANT)
    if last is None:
        same = rest
    else:
        further = term.value < last if term.descending else term.value > last
        same = or_(further, and_(term.value == last, rest))
    return same if constant else or_(term.rank > rank, and_(term.rank == rank, same))
