"""Tables of data."""

from __future__ import annotations

from typing import Any

import msgspec

from rung.core.errors import NotFound
from rung.core.records import prepared, values_of
from rung.data.records import Dataset, DatasetVersion, ExpectationSet, Profile, Validation, VersionSummary
from rung.storage.raw import Raw
from rung.storage.sql import BigInteger, Column, Connection, Index, Integer, String, Text, UniqueConstraint, func, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

DATASET = table(
    "dataset",
    id_column(),
    project_column(),
    Column("name", String(128), nullable=False),
    Column("description", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    UniqueConstraint("project", "name"),
)
VERSION = table(
    "dataset_version",
    id_column(),
    project_column(),
    Column("dataset", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("format", String(16), nullable=False),
    Column("files", JsonType, nullable=False, info={"blobs": ("*.digest",)}),
    Column("schema", JsonType, nullable=False),
    Column("rows", BigInteger),
    Column("size_bytes", BigInteger, nullable=False),
    Column("time_column", Text),
    Column("note", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("derived_from", JsonType, nullable=False),
    Column("validation", String(16), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    UniqueConstraint("project", "dataset", "number"),
    UniqueConstraint("project", "dataset", "digest"),
)
PROFILE = table(
    "dataset_profile",
    Column("project", String(32), primary_key=True),
    Column("dataset", String(128), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("body", JsonType, nullable=False),
)
EXPECTATION_SET = table(
    "expectation_set",
    id_column(),
    project_column(),
    Column("dataset", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("body", JsonType, nullable=False),
    UniqueConstraint("project", "dataset", "number"),
)
VALIDATION = table(
    "validation",
    id_column(),
    project_column(),
    Column("dataset", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("body", JsonType, nullable=False),
    Index("ix_validation_version", "project", "dataset", "number"),
)


class DataStore:
    """Rows of data on one connection, of one project."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def take_turn(self, dataset: str) -> None:
        """Let nobody else add to a dataset until the transaction ends."""
        Raw(self._connection).take_turn("dataset", self._project, dataset)

    def add_dataset(self, identity: str, dataset: Dataset) -> None:
        """Enter a dataset's name and card."""
        values = {n: getattr(dataset, n) for n in ("name", "description", "owner", "source", "created_at", "created_by")}
        self._connection.execute(DATASET.insert().values(id=identity, project=self._project, **values))

    def set_card(self, name: str, changes: dict[str, str]) -> None:
        """Change a dataset's card."""
        self._connection.execute(DATASET.update().where(DATASET.c.project == self._project, DATASET.c.name == name).values(**changes))

    def find_dataset(self, name: str) -> Dataset | None:
        """A dataset by name."""
        found = self._datasets(name=name, after=None, limit=1)
        return found[0] if found else None

    def dataset(self, name: str) -> Dataset:
        """A dataset. Raises NotFound, listing known names."""
        found = self.find_dataset(name)
        if found is None:
            known = ", ".join(d.name for d in self.datasets(after=None, limit=20)) or "none"
            raise NotFound(
                f"There is no dataset {name!r}.", code="data.no_dataset", hint=f"Known: {known}. Add one: rung data add {name} FILE"
            )
        return found

    def datasets(self, *, after: str | None, limit: int) -> list[Dataset]:
        """Datasets by name."""
        return self._datasets(name=None, after=after, limit=limit)

    def add_version(self, identity: str, version: DatasetVersion) -> None:
        """Append a version; the unique number or content may refuse it."""
        self._connection.execute(VERSION.insert().values(id=identity, project=self._project, **values_of(version)))

    def find_version(self, dataset: str, *, number: int | None = None, digest: str | None = None) -> DatasetVersion | None:
        """A version by number or content; the latest when neither is given."""
        query = select(VERSION).where(VERSION.c.project == self._project, VERSION.c.dataset == dataset)
        query = query if number is None else query.where(VERSION.c.number == number)
        query = query if digest is None else query.where(VERSION.c.digest == digest)
        row = self._connection.execute(query.order_by(VERSION.c.number.desc()).limit(1)).mappings().first()
        return None if row is None else _version(row)

    def version(self, dataset: str, number: int | None = None) -> DatasetVersion:
        """A version, or the latest. Raises NotFound."""
        self.dataset(dataset)
        found = self.find_version(dataset, number=number)
        if found is None:
            what = "no version yet" if number is None else f"no version {number}"
            raise NotFound(
                f"Dataset {dataset!r} has {what}.", code="data.no_version", hint=f"`rung data log {dataset}` shows its versions."
            )
        return found

    def versions(self, dataset: str, *, before: int | None = None, limit: int | None = None) -> list[DatasetVersion]:
        """Versions of a dataset, newest first."""
        query = select(VERSION).where(VERSION.c.project == self._project, VERSION.c.dataset == dataset).order_by(VERSION.c.number.desc())
        query = query if before is None else query.where(VERSION.c.number < before)
        query = query if limit is None else query.limit(limit)
        return [_version(row) for row in self._connection.execute(query).mappings()]

    def newest_number(self, dataset: str) -> int:
        """Number of the latest version, 0 before the first."""
        query = select(func.max(VERSION.c.number)).where(VERSION.c.project == self._project, VERSION.c.dataset == dataset)
        return int(self._connection.execute(query).scalar() or 0)

    def mark_validation(self, dataset: str, number: int, status: str) -> None:
        """Note on a version what its newest validation said."""
        where = (VERSION.c.project == self._project, VERSION.c.dataset == dataset, VERSION.c.number == number)
        self._connection.execute(VERSION.update().where(*where).values(validation=status))

    def find_profile(self, dataset: str, number: int) -> Profile | None:
        """The kept profile of a version."""
        where = (PROFILE.c.project == self._project, PROFILE.c.dataset == dataset, PROFILE.c.number == number)
        body = self._connection.execute(select(PROFILE.c.body).where(*where)).scalar()
        return None if body is None else msgspec.convert(body, prepared(Profile))

    def keep_profile(self, profile: Profile) -> None:
        """Keep a profile; the first one stays."""
        if self.find_profile(profile.dataset, profile.number) is None:
            values = {"project": self._project, "dataset": profile.dataset, "number": profile.number}
            self._connection.execute(PROFILE.insert().values(body=profile, **values))

    def expectations(self, dataset: str) -> ExpectationSet:
        """The expectations in force; an empty set number 0 before the first."""
        query = select(EXPECTATION_SET.c.body).where(EXPECTATION_SET.c.project == self._project, EXPECTATION_SET.c.dataset == dataset)
        body = self._connection.execute(query.order_by(EXPECTATION_SET.c.number.desc()).limit(1)).scalar()
        return (
            ExpectationSet(dataset=dataset, number=0, expectations=()) if body is None else msgspec.convert(body, prepared(ExpectationSet))
        )

    def add_expectations(self, identity: str, held: ExpectationSet) -> None:
        """Append a set of expectations."""
        values = {"id": identity, "project": self._project, "dataset": held.dataset, "number": held.number}
        self._connection.execute(EXPECTATION_SET.insert().values(body=held, **values))

    def add_validation(self, validation: Validation) -> None:
        """Append a validation."""
        values = {"id": validation.id, "project": self._project, "dataset": validation.dataset, "number": validation.number}
        self._connection.execute(VALIDATION.insert().values(body=validation, **values))

    def find_validation(self, dataset: str, number: int) -> Validation | None:
        """The newest validation of a version."""
        where = (VALIDATION.c.project == self._project, VALIDATION.c.dataset == dataset, VALIDATION.c.number == number)
        body = self._connection.execute(select(VALIDATION.c.body).where(*where).order_by(VALIDATION.c.id.desc()).limit(1)).scalar()
        return None if body is None else msgspec.convert(body, prepared(Validation))

    def validations(self) -> list[Validation]:
        """Every validation of the project, newest first."""
        query = select(VALIDATION.c.body).where(VALIDATION.c.project == self._project).order_by(VALIDATION.c.id.desc())
        return [msgspec.convert(body, prepared(Validation)) for body in self._connection.execute(query).scalars()]

    def _datasets(self, *, name: str | None, after: str | None, limit: int) -> list[Dataset]:
        newest = (
            select(VERSION.c.dataset, func.max(VERSION.c.number).label("latest"))
            .where(VERSION.c.project == self._project)
            .group_by(VERSION.c.dataset)
            .subquery()
        )
        query = (
            select(DATASET, newest.c.latest, VERSION.c.rows, VERSION.c.size_bytes, VERSION.c.validation)
            .outerjoin(newest, newest.c.dataset == DATASET.c.name)
            .outerjoin(
                VERSION,
                (VERSION.c.project == self._project) & (VERSION.c.dataset == DATASET.c.name) & (VERSION.c.number == newest.c.latest),
            )
            .where(DATASET.c.project == self._project)
            .order_by(DATASET.c.name)
            .limit(limit)
        )
        query = query if name is None else query.where(DATASET.c.name == name)
        query = query if after is None else query.where(DATASET.c.name > after)
        return [_dataset(row) for row in self._connection.execute(query).mappings()]


def summary_of(version: DatasetVersion) -> VersionSummary:
    """A version without its files and columns."""
    return VersionSummary(
        dataset=version.dataset, number=version.number, digest=version.digest, format=version.format, rows=version.rows,
        columns=len(version.schema), files=len(version.files), size_bytes=version.size_bytes, time_column=version.time_column,
        note=version.note, source=version.source, validation=version.validation, created_at=version.created_at, created_by=version.created_by,
    )  # fmt: skip


def _dataset(row: Any) -> Dataset:
    names = ("name", "description", "owner", "source", "latest", "rows", "created_at", "created_by")
    return Dataset(size_bytes=row["size_bytes"] or 0, validation=row["validation"] or "unchecked", **{n: row[n] for n in names})


def _version(row: Any) -> DatasetVersion:
    return msgspec.convert({name: row[name] for name in DatasetVersion.__struct_fields__}, prepared(DatasetVersion))
