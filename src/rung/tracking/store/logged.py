"""Rows of logged models and what was measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rung.core.clock import from_micros
from rung.core.errors import NotFound
from rung.storage.raw import Raw
from rung.storage.sql import Connection, delete, select
from rung.tracking.logged import LoggedModel
from rung.tracking.records import ModelMetric
from rung.tracking.store.tables import LOGGED, MODEL_METRIC, fields, inserting


class LoggedStore:
    """Logged models of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add(self, model: LoggedModel) -> None:
        """Enter a logged model."""
        values = fields(model)
        del values["metrics"]
        self._connection.execute(LOGGED.insert().values(project=self._project, **values))

    def find(self, model: str) -> LoggedModel | None:
        """A logged model, deleted ones too."""
        found = self._filled(select(LOGGED).where(self._mine(), LOGGED.c.id == model))
        return found[0] if found else None

    def get(self, model: str) -> LoggedModel:
        """A logged model. Raises NotFound, for deleted ones too."""
        found = self.find(model)
        if found is None or found.deleted_at is not None:
            raise NotFound(f"There is no logged model m-{model}.", code="tracking.no_logged_model", hint="Look at the run that made it.")
        return found

    def take_turn(self, model: str) -> None:
        """Let nobody else change a logged model until the transaction ends."""
        Raw(self._connection).take_turn("logged_model", model)

    def change(self, model: str, **values: Any) -> None:
        """Change columns of a logged model."""
        self._connection.execute(LOGGED.update().where(self._mine(), LOGGED.c.id == model).values(**values))

    def among(self, experiments: Sequence[int]) -> list[LoggedModel]:
        """Logged models of some experiments, or of all, newest first."""
        query = select(LOGGED).where(self._mine(), LOGGED.c.deleted_at.is_(None))
        if experiments:
            query = query.where(LOGGED.c.experiment_number.in_(experiments))
        return self._filled(query.order_by(LOGGED.c.created_at.desc(), LOGGED.c.id.desc()))

    def deleted_before(self, at: Any) -> list[str]:
        """Ids of logged models put aside before an instant."""
        return list(self._connection.execute(select(LOGGED.c.id).where(self._mine(), LOGGED.c.deleted_at < at)).scalars())

    def of_run(self, run: str) -> list[str]:
        """Ids of the logged models a run made, deleted ones too."""
        return list(self._connection.execute(select(LOGGED.c.id).where(self._mine(), LOGGED.c.run == run)).scalars())

    def remove(self, model: str) -> None:
        """Forget a logged model for good."""
        self._connection.execute(delete(MODEL_METRIC).where(MODEL_METRIC.c.model == model))
        self._connection.execute(delete(LOGGED).where(self._mine(), LOGGED.c.id == model))

    def add_metrics(self, metrics: Sequence[tuple[ModelMetric, int]]) -> None:
        """Enter values with their instants (µs) in place of earlier ones of the same key, run and dataset."""
        insert = inserting(self._connection)(MODEL_METRIC)
        names = ("step", "at", "value", "is_nan")
        newer = (insert.excluded.step > MODEL_METRIC.c.step) | (
            (insert.excluded.step == MODEL_METRIC.c.step) & (insert.excluded.at >= MODEL_METRIC.c.at)
        )
        upsert = insert.on_conflict_do_update(
            index_elements=["model", "key", "run", "dataset_name", "dataset_digest"],
            set_={name: insert.excluded[name] for name in names}, where=newer,
        )  # fmt: skip
        for metric, at in metrics:
            is_nan = metric.value != metric.value
            self._connection.execute(
                upsert,
                {
                    "model": metric.model, "key": metric.key, "run": metric.run or "", "dataset_name": metric.dataset_name[:500],
                    "dataset_digest": metric.dataset_digest[:36], "step": metric.step, "at": at,
                    "value": None if is_nan else metric.value, "is_nan": is_nan,
                },
            )  # fmt: skip

    def _filled(self, query: Any) -> list[LoggedModel]:
        rows = self._connection.execute(query).mappings().all()
        ids = [row["id"] for row in rows]
        metrics: dict[str, list[ModelMetric]] = {}
        for start in range(0, len(ids), 500):
            found = select(MODEL_METRIC).where(MODEL_METRIC.c.model.in_(ids[start : start + 500])).order_by(MODEL_METRIC.c.key)
            for row in self._connection.execute(found).mappings():
                metrics.setdefault(row["model"], []).append(_metric(row))
        names = [name for name in LoggedModel.__struct_fields__ if name != "metrics"]
        return [LoggedModel(**{name: row[name] for name in names}, metrics=tuple(metrics.get(row["id"], ()))) for row in rows]

    def _mine(self) -> Any:
        return LOGGED.c.project == self._project


def _metric(row: Any) -> ModelMetric:
    return ModelMetric(
        model=row["model"], key=row["key"], value=float("nan") if row["is_nan"] else row["value"], step=row["step"],
        at=from_micros(row["at"]), run=row["run"] or None, dataset_name=row["dataset_name"], dataset_digest=row["dataset_digest"],
    )  # fmt: skip
