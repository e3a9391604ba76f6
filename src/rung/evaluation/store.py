"""Tables of evaluation. What is asked for stands in columns, the whole record beside it as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from rung.core.errors import NotFound
from rung.core.records import prepared, replaced
from rung.evaluation.records import Evaluation
from rung.storage.sql import Column, Connection, Index, Integer, String, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

EVALUATION = table(
    "evaluation",
    id_column(),
    project_column(),
    Column("model", String(256), nullable=False),
    Column("number", Integer, nullable=False),
    Column("dataset", String(128), nullable=False),
    Column("dataset_number", Integer, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("record", JsonType, nullable=False, info={"blobs": ("rows_blob",)}),
    Index("ix_evaluation_version", "project", "model", "number", "dataset", "dataset_number"),
)


class EvaluationStore:
    """Rows of evaluation of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add(self, evaluation: Evaluation) -> None:
        """Enter an evaluation."""
        names = ("id", "model", "number", "dataset", "dataset_number", "created_at")
        values: dict[str, Any] = {name: getattr(evaluation, name) for name in names}
        self._connection.execute(EVALUATION.insert().values(project=self._project, record=evaluation, **values))

    def get(self, evaluation: str) -> Evaluation:
        """One evaluation. Raises NotFound."""
        query = select(EVALUATION.c.record, EVALUATION.c.model).where(EVALUATION.c.project == self._project, EVALUATION.c.id == evaluation)
        found = self._connection.execute(query).first()
        if found is None:
            raise NotFound(f"There is no evaluation {evaluation!r}.", code="evaluation.not_found", hint="`rung model evaluate` makes one.")
        return replaced(msgspec.convert(found.record, prepared(Evaluation)), model=found.model)

    def rename_model(self, model: str, name: str) -> None:
        """Let a model's evaluations follow its new name."""
        where = EVALUATION.c.project == self._project, EVALUATION.c.model == model
        self._connection.execute(EVALUATION.update().where(*where).values(model=name))

    def list(
        self, model: str, *, number: int | None = None, dataset: str | None = None, dataset_number: int | None = None, limit: int = 100
    ) -> tuple[Evaluation, ...]:
        """Evaluations of a model, newest first."""
        query = select(EVALUATION.c.record).where(EVALUATION.c.project == self._project, EVALUATION.c.model == model)
        columns = (EVALUATION.c.number, number), (EVALUATION.c.dataset, dataset), (EVALUATION.c.dataset_number, dataset_number)
        for column, wanted in columns:
            query = query if wanted is None else query.where(column == wanted)
        rows = self._connection.execute(query.order_by(EVALUATION.c.id.desc()).limit(limit))
        return tuple(replaced(msgspec.convert(row[0], prepared(Evaluation)), model=model) for row in rows)
