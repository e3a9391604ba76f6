"""Tables of tracking.

A metric's points are append-only; its latest value stands beside them with the experiment, so that a filter by
metric is one index range. SQLite keeps NaN as NULL, hence the mark ``is_nan``.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    and_,
    case,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from rung.core.clock import from_micros, to_micros
from rung.core.errors import Invalid, NotFound
from rung.core.ids import new_id
from rung.core.records import Page
from rung.core.references import DatasetUse
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table
from rung.tracking.records import Artifact, Condition, Experiment, MetricPoint, Order, ParamValue, Run, RunContext
from rung.tracking.rules import instant, number_of, param_text

_ROWID = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER numbers itself there

EXPERIMENT = table(
    "experiment",
    id_column(),
    project_column(),
    Column("name", String(128), nullable=False),
    Column("note", Text, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    UniqueConstraint("project", "name", name="uq_experiment_name"),
)
RUN = table(
    "run",
    id_column(),
    project_column(),
    Column("experiment", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("started_at", InstantType, nullable=False),
    Column("ended_at", InstantType),
    Column("created_by", String(128), nullable=False),
    Column("context", JsonType, nullable=False),
    Column("git_commit", String(64), nullable=False),
    Column("datasets", JsonType, nullable=False),
    Column("pipeline_run", String(32)),
    Column("step", Text, nullable=False),
    Column("parent", String(32)),
    Column("deleted_at", InstantType),
    Column("error", Text, nullable=False),
    UniqueConstraint("project", "experiment", "number", name="uq_run_number"),
    Index("ix_run_started", "project", "started_at", "id"),
    Index("ix_run_pipeline_run", "project", "pipeline_run"),
)
PARAM = table(
    "run_param",
    id_column("run"),
    Column("key", String(250), primary_key=True),
    project_column(),
    Column("experiment", String(128), nullable=False),
    Column("value", JsonType, nullable=False),
    Column("text", Text, nullable=False),
    Column("number", Float),
    Index("ix_run_param_number", "project", "experiment", "key", "number"),
)
TAG = table(
    "run_tag", id_column("run"), Column("key", String(250), primary_key=True), project_column(), Column("value", Text, nullable=False)
)
SERIES = table(
    "metric_series",
    Column("id", _ROWID, primary_key=True, autoincrement=True),
    id_column("run", primary_key=False),
    Column("key", String(250), nullable=False),
    UniqueConstraint("run", "key", name="uq_metric_series"),
)
POINT = table(
    "metric_point",
    Column("seq", _ROWID, primary_key=True, autoincrement=True),
    Column("series", _ROWID, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("at", InstantType, nullable=False),
    Column("value", Float),
    Column("is_nan", Boolean, nullable=False),
    Index("ix_metric_point_series", "series", "step", "at"),
)
LATEST = table(
    "metric_latest",
    id_column("run"),
    Column("key", String(250), primary_key=True),
    project_column(),
    Column("experiment", String(128), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("at", InstantType, nullable=False),
    Column("value", Float),
    Column("is_nan", Boolean, nullable=False),
    Index("ix_metric_latest_value", "project", "experiment", "key", "value", "run"),
)
BATCH = table("metric_batch", id_column("run"), id_column("batch"))
ARTIFACT = table(
    "run_artifact",
    id_column("run"),
    Column("path", String(500), primary_key=True),
    project_column(),
    Column("digest", String(80), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("created_at", InstantType, nullable=False),
)


class TrackingStore:
    """Rows of tracking of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project
        self._insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert

    def find_experiment(self, name: str) -> Experiment | None:
        """An experiment by name."""
        row = self._connection.execute(select(EXPERIMENT).where(self._mine(EXPERIMENT), EXPERIMENT.c.name == name)).mappings().first()
        return None if row is None else _experiment(row)

    def experiments(self) -> tuple[Experiment, ...]:
        """Experiments, newest first."""
        query = select(EXPERIMENT).where(self._mine(EXPERIMENT)).order_by(EXPERIMENT.c.id.desc())
        return tuple(_experiment(row) for row in self._connection.execute(query).mappings())

    def add_experiment(self, experiment: Experiment) -> None:
        """Enter an experiment; the unique name may refuse it."""
        self._connection.execute(EXPERIMENT.insert().values(project=self._project, runs=0, **_fields(experiment)))

    def next_number(self, experiment: str) -> int:
        """The next run number of an experiment, counted on its row, so that two runs never share one."""
        where = and_(self._mine(EXPERIMENT), EXPERIMENT.c.name == experiment)
        self._connection.execute(EXPERIMENT.update().where(where).values(runs=EXPERIMENT.c.runs + 1))
        return int(self._connection.execute(select(EXPERIMENT.c.runs).where(where)).scalar_one())

    def add_run(self, run: Run) -> None:
        """Enter a run without its params and tags."""
        values = _fields(run)
        for name in ("params", "metrics", "tags"):
            del values[name]
        self._connection.execute(RUN.insert().values(project=self._project, git_commit=run.context.git_commit[:64], **values))

    def find_run(self, key: str) -> Run | None:
        """A run by its id or as ``experiment:number``."""
        experiment, colon, number = key.rpartition(":")
        if colon and not number.isdecimal():
            return None
        which = and_(RUN.c.experiment == experiment, RUN.c.number == int(number[:9])) if colon else RUN.c.id == key
        rows = self._connection.execute(select(RUN).where(self._mine(RUN), which)).mappings().all()
        return self.filled(rows)[0] if rows else None

    def run(self, key: str) -> Run:
        """A run by its id or as ``experiment:number``. Raises NotFound."""
        found = self.find_run(key)
        if found is None:
            raise NotFound(f"There is no run {key!r}.", code="tracking.no_run", hint="`rung runs list` shows them.")
        return found

    def run_row(self, run: str) -> Any:
        """Experiment and deletion of a run, without its values. Raises NotFound."""
        query = select(RUN.c.id, RUN.c.experiment, RUN.c.deleted_at, RUN.c.datasets).where(self._mine(RUN), RUN.c.id == run)
        row = self._connection.execute(query).first()
        if row is None:
            raise NotFound(f"There is no run {run!r}.", code="tracking.no_run", hint="`rung runs list` shows them.")
        return row

    def change_run(self, run: str, **values: Any) -> None:
        """Change columns of a run."""
        self._connection.execute(RUN.update().where(self._mine(RUN), RUN.c.id == run).values(**values))

    def filled(self, rows: Sequence[Any]) -> list[Run]:
        """Runs of rows, with params, tags and latest metrics: three queries whatever the number of rows."""
        ids = [row["id"] for row in rows]
        params = self._by_run(select(PARAM.c.run, PARAM.c.key, PARAM.c.value).where(PARAM.c.run.in_(ids)))
        tags = self._by_run(select(TAG.c.run, TAG.c.key, TAG.c.value).where(TAG.c.run.in_(ids)))
        query = select(LATEST.c.run, LATEST.c.key, LATEST.c.value, LATEST.c.is_nan).where(LATEST.c.run.in_(ids)).order_by(LATEST.c.key)
        metrics: dict[str, dict[str, float]] = {}
        for run, key, value, is_nan in self._connection.execute(query):
            metrics.setdefault(run, {})[key] = float("nan") if is_nan else value
        return [_run(row, params.get(row["id"], {}), metrics.get(row["id"], {}), tags.get(row["id"], {})) for row in rows]

    def params(self, run: str) -> dict[str, ParamValue]:
        """Params of a run."""
        return self._by_run(select(PARAM.c.run, PARAM.c.key, PARAM.c.value).where(PARAM.c.run == run)).get(run, {})

    def add_params(self, run: str, experiment: str, params: dict[str, ParamValue]) -> None:
        """Enter params that are not there yet."""
        if params:
            rows = [
                {
                    "run": run, "key": key, "project": self._project, "experiment": experiment, "value": [value],
                    "text": param_text(value), "number": number_of(value),
                }
                for key, value in params.items()
            ]  # fmt: skip
            self._connection.execute(PARAM.insert(), rows)

    def set_tags(self, run: str, tags: dict[str, str]) -> None:
        """Set tags in place of those of the same key."""
        if tags:
            insert = self._insert(TAG)
            rows = [{"run": run, "key": key, "project": self._project, "value": value} for key, value in tags.items()]
            self._connection.execute(
                insert.on_conflict_do_update(index_elements=["run", "key"], set_={"value": insert.excluded.value}), rows
            )

    def first_time(self, run: str, batch: str) -> bool:
        """Whether a batch was not seen before; from now on it was."""
        held = select(BATCH.c.run).where(BATCH.c.run == run, BATCH.c.batch == batch)
        if self._connection.execute(held).first() is not None:
            return False
        self._connection.execute(BATCH.insert().values(run=run, batch=batch))
        return True

    def add_points(self, run: str, experiment: str, points: Sequence[MetricPoint], latest: Iterable[MetricPoint], now: datetime) -> None:
        """Append points, and move the latest values that they overtake."""
        series = self._series(run, sorted({point.key for point in points}))
        rows = [{"series": series[p.key], "step": p.step, "at": p.at or now, **_value(p.value)} for p in points]
        self._connection.execute(POINT.insert(), rows)
        insert = self._insert(LATEST)
        names = ("step", "at", "value", "is_nan")
        upsert = insert.on_conflict_do_update(
            index_elements=["run", "key"],
            set_={name: insert.excluded[name] for name in names},
            where=or_(
                insert.excluded.step > LATEST.c.step,
                and_(insert.excluded.step == LATEST.c.step, insert.excluded.at > LATEST.c.at),
                and_(
                    insert.excluded.step == LATEST.c.step,
                    insert.excluded.at == LATEST.c.at,
                    or_(LATEST.c.is_nan, insert.excluded.value > LATEST.c.value),
                ),
            ),
        )
        whose = {"run": run, "project": self._project, "experiment": experiment}
        self._connection.execute(upsert, [{"key": p.key, "step": p.step, "at": p.at or now, **_value(p.value), **whose} for p in latest])

    def history(self, run: str, key: str) -> list[MetricPoint] | None:
        """All points of a metric by step, then instant, doubles once; None when it was never logged."""
        series = self._connection.execute(select(SERIES.c.id).where(SERIES.c.run == run, SERIES.c.key == key)).scalar()
        if series is None:
            return None
        query = (
            select(POINT.c.step, POINT.c.at, POINT.c.value, POINT.c.is_nan)
            .where(POINT.c.series == series)
            .distinct()
            .order_by(POINT.c.step, POINT.c.at, POINT.c.value)
        )
        return [
            MetricPoint(key=key, step=step, at=at, value=float("nan") if is_nan else value)
            for step, at, value, is_nan in self._connection.execute(query)
        ]

    def set_artifact(self, artifact: Artifact) -> None:
        """Enter an artifact in place of one of the same path."""
        where = and_(ARTIFACT.c.run == artifact.run, ARTIFACT.c.path == artifact.path)
        self._connection.execute(ARTIFACT.delete().where(where))
        self._connection.execute(ARTIFACT.insert().values(project=self._project, **_fields(artifact)))

    def artifacts(self, run: str) -> tuple[Artifact, ...]:
        """Artifacts of a run by path."""
        query = select(ARTIFACT).where(self._mine(ARTIFACT), ARTIFACT.c.run == run).order_by(ARTIFACT.c.path)
        names = Artifact.__struct_fields__
        return tuple(Artifact(**{name: row[name] for name in names}) for row in self._connection.execute(query).mappings())

    def search(
        self, *, experiment: str | None, conditions: Sequence[Condition], order: Order, after: str | None, limit: int, deleted: bool
    ) -> Page[Run]:
        """A page of runs that meet all conditions. Numbers come before NaN, NaN before runs without the value."""
        rank, value, source = _sorted_by(order)
        query = select(RUN, rank.label("rank_"), value.label("value_")).select_from(source).where(self._mine(RUN))
        query = query.where(RUN.c.deleted_at.is_not(None) if deleted else RUN.c.deleted_at.is_(None))
        if experiment is not None:
            query = query.where(RUN.c.experiment == experiment)
        for condition in conditions:
            query = query.where(_meets(condition))
        if after is not None:
            query = query.where(_beyond(after, rank, value, order))
        query = query.order_by(rank, value.desc() if order.descending else value.asc(), RUN.c.id.desc()).limit(limit + 1)
        rows = self._connection.execute(query).mappings().all()
        mark = msgspec.json.encode(_mark(rows[limit - 1])).decode() if len(rows) > limit else None
        return Page(items=tuple(self.filled(rows[:limit])), next=mark)

    def _series(self, run: str, keys: list[str]) -> dict[str, int]:
        insert = self._insert(SERIES).on_conflict_do_nothing()
        self._connection.execute(insert, [{"run": run, "key": key} for key in keys])
        found: dict[str, int] = {}
        for start in range(0, len(keys), 500):  # SQLite bounds the number of parameters
            query = select(SERIES.c.key, SERIES.c.id).where(SERIES.c.run == run, SERIES.c.key.in_(keys[start : start + 500]))
            found |= dict(self._connection.execute(query).all())
        return found

    def _by_run(self, query: Any) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for run, key, value in self._connection.execute(query):
            found.setdefault(run, {})[key] = value[0] if isinstance(value, list) else value
        return {run: dict(sorted(values.items())) for run, values in found.items()}

    def _mine(self, of: Any) -> Any:
        return of.c.project == self._project


def new_experiment(name: str, note: str, now: datetime, by: str) -> Experiment:
    """An experiment about to be entered."""
    return Experiment(id=new_id(), name=name, note=note, created_at=now, created_by=by)


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def _value(value: float) -> dict[str, Any]:
    is_nan = value != value  # noqa: PLR0124 - NaN is what differs from itself
    return {"value": None if is_nan else value, "is_nan": is_nan}


def _experiment(row: Any) -> Experiment:
    return Experiment(**{name: row[name] for name in Experiment.__struct_fields__})


def _run(row: Any, params: dict[str, Any], metrics: dict[str, float], tags: dict[str, str]) -> Run:
    plain = ("id", "experiment", "number", "name", "status", "started_at", "ended_at", "created_by", "pipeline_run", "step", "parent")
    return Run(
        **{name: row[name] for name in (*plain, "deleted_at", "error")},
        params=params, metrics=metrics, tags=tags,
        context=msgspec.convert(row["context"], RunContext),
        datasets=msgspec.convert(row["datasets"], tuple[DatasetUse, ...]),
    )  # fmt: skip


_COMPARE: dict[str, Any] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_PLAIN = {"status": RUN.c.status, "name": RUN.c.name, "pipeline_run": RUN.c.pipeline_run, "git_commit": RUN.c.git_commit}


def _meets(condition: Condition) -> Any:
    """The SQL of a condition that the rules have passed."""
    compared: Any
    if condition.field in _PLAIN:
        return _compared(_PLAIN[condition.field], condition.operator, condition.value)
    if condition.field in {"started_at", "ended_at"}:
        value = None if condition.value is None else instant(condition.value)
        return _compared(RUN.c[condition.field], condition.operator, value)
    source = {"param": PARAM, "metric": LATEST, "tag": TAG}[condition.field]
    has = select(source.c.run).where(source.c.run == RUN.c.id, source.c.key == condition.key).correlate(RUN)
    if condition.operator == "missing":
        return ~has.exists()
    if condition.operator == "present":
        return has.exists()
    if source is PARAM:
        by_number = number_of(condition.value) is not None
        compared = _compared(PARAM.c.number, condition.operator, condition.value) if by_number else None
        compared = compared if by_number else _compared(PARAM.c.text, condition.operator, param_text(condition.value))
    else:
        compared = _compared(source.c.value, condition.operator, condition.value)
    return has.where(compared).exists()


def _compared(column: Any, how: str, value: Any) -> Any:
    if how in {"missing", "present"}:
        return column.is_(None) if how == "missing" else column.is_not(None)
    return column.like(value) if how == "like" else _COMPARE[how](column, value)


def _sorted_by(order: Order) -> tuple[Any, Any, Any]:
    """Rank (0 a value, 1 NaN, 2 none), value and tables of an order."""
    if order.by in {"metric", "param"}:
        source = LATEST if order.by == "metric" else PARAM
        joined = RUN.outerjoin(source, and_(source.c.run == RUN.c.id, source.c.key == order.key))
        value = source.c.value if order.by == "metric" else source.c.number
        marked = (LATEST.c.is_nan, 1) if order.by == "metric" else (and_(PARAM.c.number.is_(None), PARAM.c.run.is_not(None)), 1)
        return case((source.c.run.is_(None), 2), marked, else_=0), value, joined
    column = RUN.c[order.by]
    return case((column.is_(None), 2), else_=0), column, RUN


def _mark(row: Any) -> list[Any]:
    value = row["value_"]
    return [row["rank_"], to_micros(value) if isinstance(value, datetime) else value, row["id"]]


def _beyond(after: str, rank: Any, value: Any, order: Order) -> Any:
    try:
        held, last, run = msgspec.json.decode(after, type=tuple[int, int | float | str | None, str])
    except (msgspec.ValidationError, msgspec.DecodeError):
        raise Invalid(
            f"{after!r} is not the mark of a page.", code="tracking.bad_page", hint="Pass the `next` of the page before."
        ) from None
    if last is None:
        return or_(rank > held, and_(rank == held, RUN.c.id < run))
    reached = from_micros(int(last)) if order.by in {"started_at", "ended_at"} and not isinstance(last, str) else last
    further = value < reached if order.descending else value > reached
    return or_(rank > held, and_(rank == held, or_(further, and_(value == reached, RUN.c.id < run))))
