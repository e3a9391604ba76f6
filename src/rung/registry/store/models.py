"""Tables of the registry. Versions and verdicts are whole records as JSON beside the columns that are asked for."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Index, Integer, String, Text, UniqueConstraint, and_, func, select

from rung.core.errors import Conflict, NotFound
from rung.core.records import Page
from rung.registry.records import AliasMove, GateRules, Model, ModelVersion, Verdict
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

MODEL = table(
    "model",
    id_column(),
    project_column(),
    Column("name", String(128), nullable=False),
    Column("task", String(16), nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", JsonType, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    UniqueConstraint("project", "name", name="uq_model_name"),
)
VERSION = table(
    "model_version",
    id_column(),
    project_column(),
    Column("model", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("run_id", String(32)),
    Column("pipeline_run_id", String(32)),
    Column("created_at", InstantType, nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", JsonType, nullable=False),
    Column("deleted_at", InstantType),
    Column("record", JsonType, nullable=False),
    UniqueConstraint("project", "model", "number", name="uq_model_version"),
    Index("ix_model_version_run", "project", "run_id"),
)
ALIAS = table(
    "model_alias",
    Column("project", String(32), primary_key=True),
    Column("model", String(128), primary_key=True),
    Column("alias", String(64), primary_key=True),
    Column("number", Integer, nullable=False),
)
MOVE = table(
    "alias_move",
    id_column(),
    project_column(),
    Column("model", String(128), nullable=False),
    Column("alias", String(64), nullable=False),
    Column("number", Integer),
    Column("previous", Integer),
    Column("at", InstantType, nullable=False),
    Column("by", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Column("verdict", String(32)),
    Column("override_reason", Text, nullable=False),
    Index("ix_alias_move_model", "project", "model", "alias"),
)
RULES = table(
    "gate_rules",
    Column("project", String(32), primary_key=True),
    Column("model", String(128), primary_key=True),
    Column("record", JsonType, nullable=False),
)
VERDICT = table(
    "verdict",
    id_column(),
    project_column(),
    Column("model", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("passed", Integer, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("record", JsonType, nullable=False),
    Index("ix_verdict_version", "project", "model", "number"),
)


class RegistryStore:
    """Rows of the registry of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add_model(self, model: Model) -> None:
        """Enter a model; the unique name may refuse it."""
        names = ("id", "name", "task", "description", "tags", "created_at", "created_by")
        self._connection.execute(MODEL.insert().values(project=self._project, **{name: getattr(model, name) for name in names}))

    def find_model(self, name: str) -> Model | None:
        """A model by name."""
        found = self._models(MODEL.c.name == name)
        return found[0] if found else None

    def model(self, name: str) -> Model:
        """A model by name. Raises NotFound."""
        found = self.find_model(name)
        if found is None:
            raise NotFound(f"There is no model {name!r}.", code="registry.no_model", hint="`rung model list` shows them.")
        return found

    def models(self) -> tuple[Model, ...]:
        """Models by name."""
        return tuple(self._models())

    def change_model(self, name: str, **values: Any) -> None:
        """Change columns of a model."""
        self._connection.execute(MODEL.update().where(self._of(MODEL), MODEL.c.name == name).values(**values))

    def next_number(self, model: str) -> int:
        """The number after the greatest ever given, deleted versions included."""
        query = select(func.max(VERSION.c.number)).where(self._of(VERSION), VERSION.c.model == model)
        return int(self._connection.execute(query).scalar() or 0) + 1

    def add_version(self, version: ModelVersion) -> None:
        """Enter a version; the unique number may refuse it."""
        names = ("id", "model", "number", "digest", "run_id", "pipeline_run_id", "created_at", "description", "tags", "deleted_at")
        values = {name: getattr(version, name) for name in names}
        self._connection.execute(VERSION.insert().values(project=self._project, record=version, **values))

    def version(self, model: str, number: int | None = None) -> ModelVersion:
        """A version by number, deleted ones too; without one the newest that is not deleted. Raises NotFound."""
        which = VERSION.c.number == number if number is not None else VERSION.c.deleted_at.is_(None)
        found = self._versions(and_(VERSION.c.model == model, which), limit=1)
        if found:
            return found[0]
        self.model(model)
        missing = f"has no version {number}" if number is not None else "has no versions"
        raise NotFound(f"Model {model!r} {missing}.", code="registry.no_version", hint=f"`rung model versions {model}` shows them.")

    def versions(self, model: str, *, before: int | None, limit: int) -> Page[ModelVersion]:
        """Versions that are not deleted, newest first."""
        where = and_(VERSION.c.model == model, VERSION.c.deleted_at.is_(None))
        found = self._versions(where if before is None else and_(where, VERSION.c.number < before), limit=limit)
        return Page(items=tuple(found), next=str(found[-1].number) if len(found) == limit else None)

    def change_version(self, model: str, number: int, **values: Any) -> None:
        """Change the columns of a version that may change: description, tags, deleted_at."""
        where = and_(self._of(VERSION), VERSION.c.model == model, VERSION.c.number == number)
        self._connection.execute(VERSION.update().where(where).values(**values))

    def aliases(self, model: str) -> dict[str, int]:
        """Aliases of a model and the versions they point at."""
        query = select(ALIAS.c.alias, ALIAS.c.number).where(self._of(ALIAS), ALIAS.c.model == model).order_by(ALIAS.c.alias)
        return dict(self._connection.execute(query).all())

    def alias(self, model: str, alias: str) -> int:
        """The version an alias points at. Raises NotFound, listing the model's aliases."""
        held = self.aliases(model)
        if alias not in held:
            self.model(model)
            known = ", ".join(held) or "none"
            raise NotFound(f"Model {model!r} has no alias {alias!r}.", code="registry.no_alias", hint=f"It has: {known}.")
        return held[alias]

    def move_alias(self, move: AliasMove) -> None:
        """Move an alias from ``previous`` to ``number`` and note it. Raises Conflict when it no longer points at ``previous``."""
        where = and_(self._of(ALIAS), ALIAS.c.model == move.model, ALIAS.c.alias == move.alias)
        if move.previous is None:
            moved = 0 if move.alias in self.aliases(move.model) else 1
            if moved:  # two who insert at once are told apart by the key; the loser tries again and ends here
                values = {"project": self._project, "model": move.model, "alias": move.alias, "number": move.number}
                self._connection.execute(ALIAS.insert().values(**values))
        else:
            held = and_(where, ALIAS.c.number == move.previous)
            statement = ALIAS.delete().where(held) if move.number is None else ALIAS.update().where(held).values(number=move.number)
            moved = self._connection.execute(statement).rowcount
        if moved != 1:
            raise moved_meanwhile(move.alias, move.previous, self.aliases(move.model).get(move.alias))
        values = {name: getattr(move, name) for name in AliasMove.__struct_fields__}
        self._connection.execute(MOVE.insert().values(project=self._project, **values))

    def moves(self, model: str, alias: str | None, limit: int) -> tuple[AliasMove, ...]:
        """Moves of a model's aliases, newest first."""
        query = select(MOVE).where(self._of(MOVE), MOVE.c.model == model).order_by(MOVE.c.id.desc()).limit(limit)
        query = query if alias is None else query.where(MOVE.c.alias == alias)
        names = AliasMove.__struct_fields__
        return tuple(AliasMove(**{name: row[name] for name in names}) for row in self._connection.execute(query).mappings())

    def set_rules(self, rules: GateRules) -> None:
        """Keep gate rules in place of those there were."""
        self._connection.execute(RULES.delete().where(self._of(RULES), RULES.c.model == rules.model))
        self._connection.execute(RULES.insert().values(project=self._project, model=rules.model, record=rules))

    def find_rules(self, model: str) -> GateRules | None:
        """The gate rules set for a model."""
        found = self._connection.execute(select(RULES.c.record).where(self._of(RULES), RULES.c.model == model)).scalar()
        return None if found is None else msgspec.convert(found, GateRules)

    def add_verdict(self, verdict: Verdict) -> None:
        """Enter a verdict."""
        names = ("id", "model", "number", "created_at")
        values = {name: getattr(verdict, name) for name in names}
        self._connection.execute(VERDICT.insert().values(project=self._project, passed=int(verdict.passed), record=verdict, **values))

    def verdict(self, verdict: str) -> Verdict:
        """One verdict. Raises NotFound."""
        found = self._connection.execute(select(VERDICT.c.record).where(self._of(VERDICT), VERDICT.c.id == verdict)).scalar()
        if found is None:
            raise NotFound(f"There is no verdict {verdict!r}.", code="registry.no_verdict", hint="`rung model gate` makes one.")
        return msgspec.convert(found, Verdict)

    def verdicts(self, model: str, number: int | None = None, limit: int = 100) -> tuple[Verdict, ...]:
        """Verdicts on a model or a version, newest first."""
        query = select(VERDICT.c.record).where(self._of(VERDICT), VERDICT.c.model == model).order_by(VERDICT.c.id.desc()).limit(limit)
        query = query if number is None else query.where(VERDICT.c.number == number)
        return tuple(msgspec.convert(row[0], Verdict) for row in self._connection.execute(query))

    def _models(self, *where: Any) -> list[Model]:
        rows = self._connection.execute(select(MODEL).where(self._of(MODEL), *where).order_by(MODEL.c.name)).mappings().all()
        counts = {
            row.model: row
            for row in self._connection.execute(
                select(VERSION.c.model, func.count().label("versions"), func.max(VERSION.c.number).label("newest"))
                .where(self._of(VERSION), VERSION.c.deleted_at.is_(None))
                .group_by(VERSION.c.model)
            )
        }
        found = []
        for row in rows:
            count = counts.get(row["name"])
            names = ("id", "name", "task", "description", "tags", "created_at", "created_by")
            found.append(
                Model(
                    **{name: row[name] for name in names}, aliases=self.aliases(row["name"]),
                    versions=count.versions if count else 0, newest=count.newest if count else None,
                )
            )  # fmt: skip
        return found

    def _versions(self, where: Any, *, limit: int) -> list[ModelVersion]:
        columns = VERSION.c.record, VERSION.c.description, VERSION.c.tags, VERSION.c.deleted_at
        query = select(*columns).where(self._of(VERSION), where).order_by(VERSION.c.number.desc()).limit(limit)
        found = []
        held: dict[str, dict[str, int]] = {}
        for record, description, tags, deleted_at in self._connection.execute(query):
            version = msgspec.convert(record, ModelVersion)
            if version.model not in held:
                held[version.model] = self.aliases(version.model)
            aliases = tuple(alias for alias, number in held[version.model].items() if number == version.number)
            found.append(msgspec.structs.replace(version, description=description, tags=tags, deleted_at=deleted_at, aliases=aliases))  # type: ignore[type-var]
        return found

    def _of(self, of: Any) -> Any:
        return of.c.project == self._project


def moved_meanwhile(alias: str, expected: int | None, found: int | None) -> Conflict:
    """What the loser of a race for an alias is told."""
    points = f"points at version {found}" if found else "points nowhere"
    return Conflict(
        f"Alias {alias!r} {points}, not at {expected or 'none'}.", code="registry.alias_moved", hint="Look again, then decide anew."
    )
