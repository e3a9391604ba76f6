"""Tables of features."""

from __future__ import annotations

from typing import Any

import msgspec

from rung.core.errors import NotFound
from rung.core.records import prepared
from rung.features.records import AppliedView, TrainingSet
from rung.storage.raw import Raw
from rung.storage.sql import Column, Connection, Integer, String, UniqueConstraint, func, select
from rung.storage.tables import InstantType, JsonType, table

VIEW = table(
    "feature_view",
    Column("project", String(32), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", String(80), nullable=False),
    Column("view", JsonType, nullable=False),
    Column("applied_at", InstantType, nullable=False),
    Column("applied_by", String(128), nullable=False),
    UniqueConstraint("project", "name", "digest"),
)
TRAINING_SET = table(
    "training_set",
    Column("project", String(32), primary_key=True),
    Column("dataset", String(128), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("body", JsonType, nullable=False),
)


class FeatureStore:
    """Rows of features on one connection, of one project."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def take_turn(self, name: str) -> None:
        """Let nobody else define a view until the transaction ends."""
        Raw(self._connection).take_turn("feature_view", self._project, name)

    def add_view(self, applied: AppliedView) -> None:
        """Append a definition; the unique number or content may refuse it."""
        self._connection.execute(
            VIEW.insert().values(
                project=self._project, name=applied.view.name, number=applied.number, digest=applied.digest, view=applied.view,
                applied_at=applied.applied_at, applied_by=applied.applied_by,
            )
        )  # fmt: skip

    def find_view(self, name: str, *, number: int | None = None, digest: str | None = None) -> AppliedView | None:
        """A definition by number or content; the latest when neither is given."""
        query = select(VIEW).where(VIEW.c.project == self._project, VIEW.c.name == name)
        query = query if number is None else query.where(VIEW.c.number == number)
        query = query if digest is None else query.where(VIEW.c.digest == digest)
        row = self._connection.execute(query.order_by(VIEW.c.number.desc()).limit(1)).mappings().first()
        return None if row is None else _applied(row)

    def view(self, name: str, number: int | None = None) -> AppliedView:
        """A definition, or the latest. Raises NotFound, listing known names."""
        found = self.find_view(name, number=number)
        if found is not None:
            return found
        if number is not None and self.find_view(name) is not None:
            raise NotFound(
                f"Feature view {name!r} has no definition {number}.",
                code="features.no_view",
                hint=f"`rung feature show {name}` shows the latest.",
            )
        known = ", ".join(item.view.name for item in self.views(after=None, limit=20)) or "none"
        raise NotFound(f"There is no feature view {name!r}.", code="features.no_view", hint=f"Known: {known}.")

    def newest_number(self, name: str) -> int:
        """Number of the latest definition, 0 before the first."""
        query = select(func.max(VIEW.c.number)).where(VIEW.c.project == self._project, VIEW.c.name == name)
        return int(self._connection.execute(query).scalar() or 0)

    def views(self, *, after: str | None, limit: int) -> list[AppliedView]:
        """The latest definition of every view, by name."""
        newest = (
            select(VIEW.c.name, func.max(VIEW.c.number).label("latest"))
            .where(VIEW.c.project == self._project)
            .group_by(VIEW.c.name)
            .subquery()
        )
        query = (
            select(VIEW)
            .join(newest, (newest.c.name == VIEW.c.name) & (newest.c.latest == VIEW.c.number))
            .where(VIEW.c.project == self._project)
            .order_by(VIEW.c.name)
            .limit(limit)
        )
        query = query if after is None else query.where(VIEW.c.name > after)
        return [_applied(row) for row in self._connection.execute(query).mappings()]

    def keep_training_set(self, manifest: TrainingSet) -> None:
        """Keep the manifest of a training set; the first one stays."""
        if self.find_training_set(manifest.dataset, manifest.number) is None:
            values = {"project": self._project, "dataset": manifest.dataset, "number": manifest.number}
            self._connection.execute(TRAINING_SET.insert().values(body=manifest, **values))

    def find_training_set(self, dataset: str, number: int) -> TrainingSet | None:
        """The manifest of a dataset version, if it is a training set."""
        where = (TRAINING_SET.c.project == self._project, TRAINING_SET.c.dataset == dataset, TRAINING_SET.c.number == number)
        body = self._connection.execute(select(TRAINING_SET.c.body).where(*where)).scalar()
        return None if body is None else msgspec.convert(body, prepared(TrainingSet))


def _applied(row: Any) -> AppliedView:
    return msgspec.convert({name: row[name] for name in AppliedView.__struct_fields__}, prepared(AppliedView))
