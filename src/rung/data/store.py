"""Tables of data."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Index, Integer, String, Text, UniqueConstraint, func, select

from rung.core.errors import NotFound
from rung.data import records as r
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

DATASET = table(
    "dataset",
    Column("project", String(32), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("description", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
)
VERSION = table(
    "dataset_version",
    Column("project", String(32), primary_key=True),
    Column("dataset", String(128), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", String(80), nullable=False),
    Column("format", String(16), nullable=False),
    Column("files", JsonType, nullable=False),
    Column("schema", JsonType, nullable=False),
    Column("file_count", BigInteger, nullable=False),
    Column("column_count", BigInteger, nullable=False),
    Column("rows", BigInteger),
    Column("size_bytes", BigInteger, nullable=False),
    Column("time_column", Text),
    Column("note", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("derived_from", JsonType, nullable=False),
    Column("validation", String(16), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    UniqueConstraint("project", "dataset", "digest"),
)
PROFILE = table(
    "dataset_profile",
    Column("project", String(32), primary_key=True),
    Column("dataset", String(128), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("profile", JsonType, nullable=False),
)
EXPECTATIONS = table(
    "expectation_set",
    Column("project", String(32), primary_key=True),
    Column("dataset", String(128), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("expectations", JsonType, nullable=False),
    Column("set_at", InstantType, nullable=False),
    Column("set_by", String(128), nullable=False),
)
VALIDATION = table(
    "validation",
    id_column(),
    project_column(),
    Column("dataset", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("validation", JsonType, nullable=False),
    Index("ix_validation_version", "project", "dataset", "number"),
)


class DataStore:
    """Rows of data on one connection, in one project."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def ensure(self, name: str, at: datetime, by: str) -> None:
        """Enter a dataset unless it is there."""
        if self._row(name) is None:
            self._connection.execute(
                DATASET.insert().values(project=self._project, name=name, description="", owner="", source="", created_at=at, created_by=by)
            )

    def dataset(self, name: str) -> r.Dataset:
        """A dataset with its latest version. Raises NotFound."""
        row = self._row(name)
        if row is None:
            raise NotFound(f"There is no dataset {name!r}.", code="data.no_dataset", hint="`rung data list` shows them.")
        return self._dataset(row)

    def datasets(self, *, limit: int, after: str | None) -> list[r.Dataset]:
        """Datasets by name."""
        query = select(DATASET).where(DATASET.c.project == self._project).order_by(DATASET.c.name).limit(limit)
        query = query if after is None else query.where(DATASET.c.name > after)
        return [self._dataset(row) for row in self._connection.execute(query).mappings().all()]

    def set_card(self, name: str, **card: str) -> None:
        """Change fields of a dataset's card."""
        if card:
            where = (DATASET.c.project == self._project, DATASET.c.name == name)
            self._connection.execute(DATASET.update().where(*where).values(**card))

    def add_version(self, version: r.DatasetVersion) -> None:
        """Enter a version; the unique number and digest may refuse it."""
        plain = {name: getattr(version, name) for name in version.__struct_fields__}  # type: ignore[attr-defined]
        self._connection.execute(
            VERSION.insert().values(project=self._project, file_count=len(version.files), column_count=len(version.schema), **plain)
        )

    def find_version(self, name: str, number: int | None = None) -> r.DatasetVersion | None:
        """A version, the latest without a number."""
        query = select(VERSION).where(VERSION.c.project == self._project, VERSION.c.dataset == name)
        query = query.order_by(VERSION.c.number.desc()).limit(1) if number is None else query.where(VERSION.c.number == number)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _version(row)

    def version(self, name: str, number: int | None = None) -> r.DatasetVersion:
        """A version, the latest without a number. Raises NotFound."""
        found = self.find_version(name, number)
        if found is not None:
            return found
        self.dataset(name)
        if number is None:
            raise NotFound(f"Dataset {name!r} has no version yet.", code="data.no_version", hint="Add one with `rung data add`.")
        raise NotFound(
            f"Dataset {name!r} has no version {number}.", code="data.no_version", hint=f"`rung data log {name}` shows its versions."
        )

    def version_with(self, name: str, digest: str) -> r.DatasetVersion | None:
        """The version with a content."""
        query = select(VERSION).where(VERSION.c.project == self._project, VERSION.c.dataset == name, VERSION.c.digest == digest)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _version(row)

    def last_number(self, name: str) -> int:
        """The greatest version number, 0 without any."""
        query = select(func.max(VERSION.c.number)).where(VERSION.c.project == self._project, VERSION.c.dataset == name)
        return int(self._connection.execute(query).scalar() or 0)

    def versions(self, name: str, *, limit: int, before: int | None) -> list[r.VersionSummary]:
        """Versions, newest first, without files and columns."""
        query = (
            select(*(column for column in VERSION.c if column.name not in {"files", "schema", "derived_from", "project"}))
            .where(VERSION.c.project == self._project, VERSION.c.dataset == name)
            .order_by(VERSION.c.number.desc())
            .limit(limit)
        )
        query = query if before is None else query.where(VERSION.c.number < before)
        return [_summary(row) for row in self._connection.execute(query).mappings()]

    def all_versions(self, name: str) -> list[r.DatasetVersion]:
        """Every version with its files, oldest first."""
        query = select(VERSION).where(VERSION.c.project == self._project, VERSION.c.dataset == name).order_by(VERSION.c.number)
        return [_version(row) for row in self._connection.execute(query).mappings()]

    def mark(self, name: str, number: int, status: str) -> None:
        """Set the validation mark of a version."""
        where = (VERSION.c.project == self._project, VERSION.c.dataset == name, VERSION.c.number == number)
        self._connection.execute(VERSION.update().where(*where).values(validation=status))

    def find_profile(self, name: str, number: int) -> r.Profile | None:
        """The profile of a version, if computed."""
        where = (PROFILE.c.project == self._project, PROFILE.c.dataset == name, PROFILE.c.number == number)
        plain = self._connection.execute(select(PROFILE.c.profile).where(*where)).scalar()
        return None if plain is None else msgspec.convert(plain, r.Profile)

    def keep_profile(self, profile: r.Profile) -> None:
        """Keep a profile, unless somebody else was first."""
        if self.find_profile(profile.dataset, profile.number) is None:
            self._connection.execute(
                PROFILE.insert().values(project=self._project, dataset=profile.dataset, number=profile.number, profile=profile)
            )

    def expectations(self, name: str) -> r.ExpectationSet:
        """The expectations in force; number 0 without any."""
        query = (
            select(EXPECTATIONS)
            .where(EXPECTATIONS.c.project == self._project, EXPECTATIONS.c.dataset == name)
            .order_by(EXPECTATIONS.c.number.desc())
            .limit(1)
        )
        row = self._connection.execute(query).mappings().first()
        if row is None:
            return r.ExpectationSet(dataset=name, number=0, expectations=())
        claims = msgspec.convert(row["expectations"], tuple[r.Expectation, ...])
        return r.ExpectationSet(dataset=name, number=row["number"], expectations=claims, set_at=row["set_at"], set_by=row["set_by"])

    def add_expectations(self, held: r.ExpectationSet) -> None:
        """Enter a set of expectations."""
        self._connection.execute(
            EXPECTATIONS.insert().values(
                project=self._project, dataset=held.dataset, number=held.number, expectations=held.expectations,
                set_at=held.set_at, set_by=held.set_by,
            )
        )  # fmt: skip

    def add_validation(self, validation: r.Validation) -> None:
        """Enter a validation and mark its version."""
        self._connection.execute(
            VALIDATION.insert().values(
                id=validation.id, project=self._project, dataset=validation.dataset, number=validation.number,
                status=validation.status, validation=validation,
            )
        )  # fmt: skip
        self.mark(validation.dataset, validation.number, validation.status)

    def find_validation(self, name: str, number: int) -> r.Validation | None:
        """The newest validation of a version."""
        where = (VALIDATION.c.project == self._project, VALIDATION.c.dataset == name, VALIDATION.c.number == number)
        plain = self._connection.execute(select(VALIDATION.c.validation).where(*where).order_by(VALIDATION.c.id.desc()).limit(1)).scalar()
        return None if plain is None else msgspec.convert(plain, r.Validation)

    def _row(self, name: str) -> Any:
        query = select(DATASET).where(DATASET.c.project == self._project, DATASET.c.name == name)
        return self._connection.execute(query).mappings().first()

    def _dataset(self, row: Any) -> r.Dataset:
        latest = self.versions(row["name"], limit=1, before=None)
        size = select(func.sum(VERSION.c.size_bytes)).where(VERSION.c.project == self._project, VERSION.c.dataset == row["name"])
        return r.Dataset(
            **{name: row[name] for name in ("name", "description", "owner", "source", "created_at", "created_by")},
            latest=latest[0].number if latest else None,
            rows=latest[0].rows if latest else None,
            size_bytes=int(self._connection.execute(size).scalar() or 0),
            validation=latest[0].validation if latest else "unchecked",
        )


def _version(row: Any) -> r.DatasetVersion:
    plain = {name: row[name] for name in r.DatasetVersion.__struct_fields__}  # type: ignore[attr-defined]
    plain["files"] = msgspec.convert(plain["files"], tuple[r.FileEntry, ...])
    plain["schema"] = msgspec.convert(plain["schema"], tuple[r.Column, ...])
    plain["derived_from"] = msgspec.convert(plain["derived_from"], tuple[r.DatasetRef, ...])
    return r.DatasetVersion(**plain)


def _summary(row: Any) -> r.VersionSummary:
    names = ("dataset", "number", "digest", "format", "rows", "size_bytes", "time_column", "note", "source", "validation")
    return r.VersionSummary(
        **{name: row[name] for name in (*names, "created_at", "created_by")}, columns=row["column_count"], files=row["file_count"]
    )
