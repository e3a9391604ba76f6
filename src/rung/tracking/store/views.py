"""Saved views, and the looks at many runs at once: names of columns, sizes of experiments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rung.core.clock import from_micros
from rung.storage.raw import Raw
from rung.storage.sql import Column, Connection, Integer, String, Text, select
from rung.storage.tables import InstantType, JsonType, id_column, table
from rung.tracking.store.tables import inserting
from rung.tracking.views import ExperimentSize, KeyKind, SavedView

SAVED_VIEW = table(
    "saved_view",
    id_column("project"),
    id_column("principal"),
    Column("name", String(120), primary_key=True, nullable=False),
    Column("filter", Text, nullable=False),
    Column("order_by", Text, nullable=False),
    Column("columns", JsonType, nullable=False),
    Column("experiment", Integer),
    Column("updated_at", InstantType, nullable=False),
)
_KEYED = {"metric": "metric_latest", "param": "run_param", "tag": "run_tag"}
_NEXT_KEY = "SELECT min(key) FROM {table} WHERE project = ? AND experiment_number = ? AND key > ?"
# Two counts, each from an index alone, instead of one that reads every run.
_SIZE = (
    "SELECT (SELECT count(*) FROM run WHERE project = ? AND experiment_number = ?),"
    " (SELECT count(*) FROM run WHERE project = ? AND experiment_number = ? AND deleted_at IS NOT NULL)"
)
_NEWEST = (
    "SELECT id, started_at FROM run WHERE project = ? AND experiment_number = ? AND deleted_at IS NULL"
    " ORDER BY started_at DESC, id DESC LIMIT 1"
)
_SERIES = "SELECT s.run, s.id FROM metric_series s JOIN run r ON r.id = s.run WHERE r.project = ? AND s.key = ? AND s.run IN ({marks})"
_AT_ONCE = 500


class ViewStore:
    """Saved views of one person in one project, and what is asked of many runs, on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._raw = Raw(connection)
        self._project = project

    def save(self, principal: str, view: SavedView) -> None:
        """Keep a view in place of one of the same name."""
        names = ("filter", "order_by", "columns", "experiment", "updated_at")
        values = {name: getattr(view, name) for name in names}
        key = {"project": self._project, "principal": principal, "name": view.name}
        statement = inserting(self._connection)(SAVED_VIEW).values(**key, **values)
        self._connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))

    def all(self, principal: str, owner: str) -> tuple[SavedView, ...]:
        """A person's views by name."""
        query = select(SAVED_VIEW).where(*self._of(principal)).order_by(SAVED_VIEW.c.name)
        return tuple(
            SavedView(
                name=row["name"], owner=owner, filter=row["filter"], order_by=row["order_by"], columns=tuple(row["columns"]),
                experiment=row["experiment"], updated_at=row["updated_at"],
            )
            for row in self._connection.execute(query).mappings()
        )  # fmt: skip

    def delete(self, principal: str, name: str) -> bool:
        """Forget a view; whether it was there."""
        return self._connection.execute(SAVED_VIEW.delete().where(*self._of(principal), SAVED_VIEW.c.name == name)).rowcount > 0

    def keys(self, kind: KeyKind, experiments: Sequence[int], contains: str, limit: int) -> list[str]:
        """Names by name: from one to the next along the index, so that it matters how many names there are, not how many runs."""
        sql, wanted, found = _NEXT_KEY.format(table=_KEYED[kind]), contains.casefold(), set[str]()
        for number in experiments:
            key: str | None = ""
            while key is not None:
                key = self._raw.rows(sql, (self._project, number, key))[0][0]
                if key is not None and wanted in key.casefold():
                    found.add(key)
        return sorted(found)[:limit]

    def size(self, number: int) -> ExperimentSize:
        """Runs of an experiment and the newest of them."""
        (runs, deleted), *_ = self._raw.rows(_SIZE, (self._project, number) * 2)
        newest: Sequence[Any] = self._raw.rows(_NEWEST, (self._project, number)) or ((None, None),)
        at: datetime | None = None if newest[0][1] is None else from_micros(newest[0][1])
        return ExperimentSize(number=number, runs=runs - deleted, deleted=deleted, newest=newest[0][0], newest_at=at)

    def series(self, runs: Sequence[str], key: str) -> dict[str, int]:
        """Number of the series of a metric, by run; runs of other projects are not found."""
        found: dict[str, int] = {}
        for start in range(0, len(runs), _AT_ONCE):
            some = runs[start : start + _AT_ONCE]
            found |= {
                row[0]: row[1] for row in self._raw.rows(_SERIES.format(marks=", ".join("?" * len(some))), (self._project, key, *some))
            }
        return found

    def _of(self, principal: str) -> list[Any]:
        return [SAVED_VIEW.c.project == self._project, SAVED_VIEW.c.principal == principal]
