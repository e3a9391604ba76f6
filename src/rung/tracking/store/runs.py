"""Rows of runs with their params, tags and inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from rung.core.clock import from_micros, to_micros
from rung.core.errors import NotFound
from rung.core.records import prepared
from rung.core.references import DatasetUse
from rung.storage.later import later
from rung.storage.plain import Plain
from rung.storage.raw import Raw
from rung.storage.sql import Connection, delete, insert, select
from rung.tracking.records import Extremes, Input, InputUse, LatestPoint, ModelLink, ParamValue, Run, RunContext
from rung.tracking.rules import number_of, param_text
from rung.tracking.store.tables import BATCH, HEAD, INPUT, LATEST, PARAM, RUN, TAG, fields, inserting

_CONTEXT = "mlflow.data.context"
_NAN = float("nan")
_EMPTY_CONTEXT = RunContext()
_NO_CONTEXT = msgspec.json.encode(_EMPTY_CONTEXT, order="sorted").decode()  # as the column keeps it
_decode_param = msgspec.json.Decoder(list[ParamValue]).decode


class RunStore:
    """Runs of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._raw = Raw(connection)
        self._project = project

    def add(self, run: Run) -> None:
        """Enter a run with its params, tags and inputs."""
        _ROW.insert(self._connection, self._values(run))
        self.add_params(run.id, run.experiment_number, run.params)
        self.set_tags(run.id, run.experiment_number, run.tags)
        self._index_inputs(run.id, run.inputs)

    def enter(self, experiment_number: int, runs: Sequence[Run]) -> None:
        """Enter several new runs of one experiment with their params, tags and inputs."""
        if not runs:
            return
        self._connection.execute(_ADD, [self._values(run) for run in runs])
        params = [row for run in runs for row in self._param_rows(run.id, experiment_number, run.params)]
        self._raw.insert_many(_PARAMS, params)
        self._raw.insert_many(_TAGS, [row for run in runs for row in self._tag_rows(run.id, experiment_number, run.tags)])
        for run in runs:
            self._index_inputs(run.id, run.inputs)

    def find(self, key: str, *, points: bool = False) -> Run | None:
        """A run by its id or as ``experiment:number``."""
        experiment, colon, number = key.rpartition(":")
        if colon and not number.isdecimal():
            return None
        if colon:
            sql = (
                "SELECT r.id FROM run r JOIN experiment e ON e.project = r.project AND e.number = r.experiment_number"
                " WHERE e.project = ? AND e.name = ? AND r.number = ?"
            )
            ids = [row[0] for row in self._raw.rows(sql, (self._project, experiment, int(number[:9])))]
        else:
            ids = [key]
        found = self.read(ids, points=points)
        return found[0] if found else None

    def get(self, key: str, *, points: bool = False) -> Run:
        """A run by its id or as ``experiment:number``. Raises NotFound."""
        found = self.find(key, points=points)
        if found is None:
            raise NotFound(f"There is no run {key!r}.", code="tracking.no_run", hint="`rung runs list` shows them.")
        return found

    def row(self, run: str) -> tuple[int, int | None]:
        """Experiment number and instant of deletion (µs) of a run, without its values. Raises NotFound."""
        found = self._raw.rows("SELECT experiment_number, deleted_at FROM run WHERE id = ? AND project = ?", (run, self._project))
        if not found:
            raise NotFound(f"There is no run {run!r}.", code="tracking.no_run", hint="`rung runs list` shows them.")
        return found[0][0], found[0][1]

    def change(self, run: str, **values: Any) -> None:
        """Change columns of a run."""
        _ROW.update(self._connection, values, "project = ? AND id = ?", (self._project, run))

    def params_among(self, run: str, keys: Sequence[str]) -> dict[str, ParamValue]:
        """Those of the named params that a run has."""
        found: dict[str, ParamValue] = {}
        for start in range(0, len(keys), 500):  # SQLite bounds the number of parameters
            some = keys[start : start + 500]
            sql = f"SELECT key, value FROM run_param WHERE run = ? AND key IN ({', '.join('?' * len(some))})"  # noqa: S608 - question marks
            rows = self._raw.rows(sql, (run, *some))
            found |= {key: msgspec.json.decode(value)[0] for key, value in rows}
        return found

    def add_params(self, run: str, experiment_number: int, params: Mapping[str, ParamValue]) -> None:
        """Enter params that are not there yet."""
        if not params:
            return
        sql = f"INSERT INTO {_PARAMS} VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - names of ours
        self._raw.change_many(sql, self._param_rows(run, experiment_number, params))

    def set_tags(self, run: str, experiment_number: int, tags: Mapping[str, str]) -> None:
        """Set tags in place of those of the same key."""
        if tags:
            sql = f"INSERT INTO {_TAGS} VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (run, key) DO UPDATE SET value = excluded.value, head = excluded.head"  # noqa: S608 - names of ours
            self._raw.change_many(sql, self._tag_rows(run, experiment_number, tags))

    def delete_tag(self, run: str, key: str) -> bool:
        """Take a tag off; whether it was there."""
        return self._connection.execute(TAG.delete().where(TAG.c.run == run, TAG.c.key == key)).rowcount > 0

    def add_datasets(self, run: str, uses: Sequence[DatasetUse]) -> tuple[DatasetUse, ...]:
        """Add uses of datasets that are not there yet; which these are."""
        self._take_turn(run)
        held = self.get(run).datasets
        fresh = tuple(use for use in uses if use not in held)
        self.change(run, datasets=held + fresh)
        return fresh

    def add_inputs(self, run: str, inputs: Sequence[Input]) -> None:
        """Add inputs that are not there yet."""
        self._take_turn(run)
        held = self.get(run).inputs
        fresh = tuple(item for item in inputs if item not in held)
        if fresh:
            self.change(run, inputs=held + fresh)
            self._index_inputs(run, fresh)

    def inputs_among(self, experiments: Sequence[int]) -> list[InputUse]:
        """Data that runs of some experiments read, each once."""
        query = (
            select(RUN.c.experiment_number, INPUT.c.name, INPUT.c.digest, INPUT.c.context)
            .join(INPUT, INPUT.c.run == RUN.c.id)
            .where(RUN.c.project == self._project, RUN.c.experiment_number.in_(experiments), RUN.c.deleted_at.is_(None))
            .distinct()
            .order_by(RUN.c.experiment_number, INPUT.c.name, INPUT.c.digest)
        )
        return [InputUse(experiment_number=row[0], name=row[1], digest=row[2], context=row[3]) for row in self._connection.execute(query)]

    def add_models(self, run: str, models: Sequence[ModelLink]) -> None:
        """Add links to logged models that are not there yet."""
        self._take_turn(run)
        held = self.get(run).models
        fresh = tuple(link for link in models if link not in held)
        if fresh:
            self.change(run, models=held + fresh)

    def first_time(self, run: str, batch: str) -> bool:
        """Whether a batch was not seen before; from now on it was."""
        return self._raw.change("INSERT INTO metric_batch (run, batch) VALUES (?, ?) ON CONFLICT DO NOTHING", (run, batch)) > 0

    def read(self, ids: Sequence[str], *, points: bool = False) -> list[Run]:
        """Runs by their ids, in that order, with params, tags and latest metrics: four queries whatever the number of runs."""
        heads: dict[str, Any] = {}
        params: dict[str, dict[str, Any]] = {}
        tags: dict[str, dict[str, str]] = {}
        latest: dict[str, list[Any]] = {}
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            marks = ", ".join("?" * len(some))
            # The project is looked at here: SQLite's planner would rather walk all runs of the project than follow the ids.
            sql = f"SELECT {_HEAD} FROM run WHERE id IN ({marks})"  # noqa: S608 - names of ours
            heads |= {row[0]: row for row in self._raw.rows(sql, some) if row[1] == self._project}
            for run, key, value in self._among("run_param", "run, key, value", some):
                params.setdefault(run, {})[key] = value
            for run, key, value in self._among("run_tag", "run, key, value", some):
                tags.setdefault(run, {})[key] = value
            columns = "run, key, value, is_nan" + (", step, at, low, low_step, high, high_step" if points else "")
            for row in self._among("metric_latest", columns, some):
                latest.setdefault(row[0], []).append(row)
        return [
            _run(heads[run], params.get(run, {}), tags.get(run, {}), latest.get(run, ()), points=points) for run in ids if run in heads
        ]  # fmt: skip

    def deleted_before(self, at: datetime, limit: int) -> list[str]:
        """Ids of runs put aside before an instant, by themselves or with their experiment."""
        micros = to_micros(at)
        sql = (
            "SELECT r.id FROM run r JOIN experiment e ON e.project = r.project AND e.number = r.experiment_number"
            " WHERE r.project = ? AND (r.deleted_at < ? OR e.deleted_at < ?) LIMIT ?"
        )
        return [row[0] for row in self._raw.rows(sql, (self._project, micros, micros, limit))]

    def any_of(self, experiment_number: int) -> bool:
        """Whether an experiment has a run, deleted ones too."""
        sql = "SELECT 1 FROM run WHERE project = ? AND experiment_number = ? LIMIT 1"
        return bool(self._raw.rows(sql, (self._project, experiment_number)))

    def remove(self, run: str) -> None:
        """Forget a run for good, but for its points and artifacts."""
        for item in (PARAM, TAG, INPUT, BATCH, LATEST):
            self._connection.execute(delete(item).where(item.c.run == run))
        self._connection.execute(delete(RUN).where(RUN.c.project == self._project, RUN.c.id == run))

    def _take_turn(self, run: str) -> None:
        """For the lists that a run keeps in one column: processes that share a run add to them at once."""
        self._raw.take_turn("run", run)

    def _among(self, name: str, columns: str, ids: Sequence[str]) -> Any:
        sql = f"SELECT {columns} FROM {name} WHERE run IN ({', '.join('?' * len(ids))}) ORDER BY run, key"  # noqa: S608 - names of ours
        return self._raw.rows(sql, ids) if ids else ()

    def _values(self, run: Run) -> dict[str, Any]:
        values = fields(run)
        for name in ("params", "metrics", "tags", "experiment", "latest"):
            del values[name]
        return {**values, "project": self._project, "git_commit": run.context.git_commit[:64]}

    def _param_rows(self, run: str, experiment_number: int, params: Mapping[str, ParamValue]) -> list[tuple[Any, ...]]:
        rows = []
        for key, value in params.items():
            text = param_text(value)
            shown = msgspec.json.encode([value]).decode()
            rows.append((run, key, self._project, experiment_number, shown, text, text[:HEAD], number_of(value)))
        return rows

    def _tag_rows(self, run: str, experiment_number: int, tags: Mapping[str, str]) -> list[tuple[Any, ...]]:
        return [(run, key, self._project, experiment_number, value, value[:HEAD]) for key, value in tags.items()]

    def _index_inputs(self, run: str, inputs: Sequence[Input]) -> None:
        if inputs:
            rows = [
                {"run": run, "name": i.name, "digest": i.digest, "context": i.tags.get(_CONTEXT, "")[:250], "project": self._project}
                for i in inputs
            ]
            self._connection.execute(inserting(self._connection)(INPUT).on_conflict_do_nothing(), rows)


_PARAMS = "run_param (run, key, project, experiment_number, value, text, head, number)"
_TAGS = "run_tag (run, key, project, experiment_number, value, head)"
_ROW = Plain(RUN)
_ADD = later(lambda: insert(RUN))  # built once: building a statement costs more than running it
_HEAD = (
    "id, project, experiment_number, number, name, status, started_at, ended_at, created_by, pipeline_run, step, parent, deleted_at, error, context,"
    " datasets, inputs, models, (SELECT name FROM experiment e WHERE e.project = run.project AND e.number = run.experiment_number)"
)


def _run(row: Any, params: dict[str, str], tags: dict[str, str], latest: Sequence[Any], *, points: bool) -> Run:
    (
        id_, _, experiment_number, number, name, status, started_at, ended_at, created_by, pipeline_run, step, parent, deleted_at, error, context,
        datasets, inputs, models, experiment,
    ) = row  # fmt: skip
    return Run(
        id=id_, experiment=experiment, experiment_number=experiment_number, number=number, name=name, status=status,
        started_at=from_micros(started_at), ended_at=None if ended_at is None else from_micros(ended_at), created_by=created_by,
        pipeline_run=pipeline_run, step=step, parent=parent, deleted_at=None if deleted_at is None else from_micros(deleted_at), error=error,
        params={key: _decode_param(value)[0] for key, value in params.items()},
        metrics={item[1]: _NAN if item[3] else item[2] for item in latest},
        latest={item[1]: _latest(item) for item in latest} if points else {},
        tags=tags,
        context=_EMPTY_CONTEXT if context == _NO_CONTEXT else msgspec.json.decode(context, type=prepared(RunContext)),
        datasets=() if datasets == "[]" else msgspec.json.decode(datasets, type=prepared(tuple[DatasetUse, ...])),
        inputs=() if inputs == "[]" else msgspec.json.decode(inputs, type=prepared(tuple[Input, ...])),
        models=() if models == "[]" else msgspec.json.decode(models, type=prepared(tuple[ModelLink, ...])),
    )  # fmt: skip


def _latest(item: Any) -> LatestPoint:
    _, _, value, is_nan, step, at, low, low_step, high, high_step = item
    extremes = Extremes(low=low, low_step=low_step, high=high, high_step=high_step)
    return LatestPoint(value=_NAN if is_nan else value, step=step, at=from_micros(at), extremes=extremes)
