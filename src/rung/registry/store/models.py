"""Tables of models, versions, aliases and verdicts. Versions and verdicts are whole records as JSON beside the columns that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from rung.core.clock import to_micros
from rung.core.errors import Conflict, NotFound
from rung.core.records import Page, prepared, replaced
from rung.registry.records import AliasMove, GateRules, Model, ModelVersion, ServingEngine, Verdict
from rung.storage.plain import Plain
from rung.storage.raw import Raw
from rung.storage.sql import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    and_,
    func,
    select,
)
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

MODEL = table(
    "model",
    id_column(),
    project_column(),
    Column("name", String(256), nullable=False),
    Column("task", String(16), nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", JsonType, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("updated_at", InstantType),
    Column("gated", Boolean),
    Column("deleted_at", InstantType),
    UniqueConstraint("project", "name", name="uq_model_name"),
)
VERSION = table(
    "model_version",
    id_column(),
    project_column(),
    Column("model", String(256), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("run_id", String(32)),
    Column("pipeline_run_id", String(32)),
    Column("created_at", InstantType, nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", JsonType, nullable=False),
    Column("deleted_at", InstantType),
    Column("record", JsonType, nullable=False, info={"blobs": ("files.*.digest", "input_example", "lock")}),
    Column("updated_at", InstantType),
    Column("stage", String(16)),
    Column("staged_at", InstantType),
    Column("engine", JsonType, info={"blobs": ("artifact",)}),
    UniqueConstraint("project", "model", "number", name="uq_model_version"),
    Index("ix_model_version_run", "project", "run_id"),
)
ALIAS = table(
    "model_alias",
    Column("project", String(32), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("alias", String(250), primary_key=True),
    Column("number", Integer, nullable=False),
)
MOVE = table(
    "alias_move",
    id_column(),
    project_column(),
    Column("model", String(256), nullable=False),
    Column("alias", String(250), nullable=False),
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
    Column("model", String(256), primary_key=True),
    Column("record", JsonType, nullable=False),
)
VERDICT = table(
    "verdict",
    id_column(),
    project_column(),
    Column("model", String(256), nullable=False),
    Column("number", Integer, nullable=False),
    Column("passed", Integer, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("record", JsonType, nullable=False),
    Index("ix_verdict_version", "project", "model", "number"),
)
# Who needs a version to stay: deployments. A holder lets go by holding something else, or nothing.
HOLD = table(
    "model_hold",
    Column("project", String(32), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(200), primary_key=True),
)
_MODEL = ("id", "name", "task", "description", "tags", "created_at", "created_by", "updated_at", "gated", "deleted_at")
_VERSION = (
    "id", "model", "number", "digest", "run_id", "pipeline_run_id", "created_at", "description", "tags", "deleted_at", "updated_at", "stage",
)  # fmt: skip
# The record as the text it is kept as: decoding it straight into its type costs a fifth of decoding it twice.
_VERSIONS, _ALIASES = Plain(VERSION, as_text=("record",)), Plain(ALIAS)
_READ = ("model", "number", "record", "description", "tags", "deleted_at", "created_at", "updated_at", "stage", "engine")
_SKETCHED = ("id", "model", "number", "run_id", "digest", "description", "tags", "created_at", "updated_at", "stage")
_THIS = "model = ? AND number = ?"
_FEW, _AT_ONCE = 20, 500


class Sketch(NamedTuple):
    """The columns of a version that searches ask for."""

    id: str
    model: str
    number: int
    run_id: str | None
    digest: str
    description: str
    tags: dict[str, str]
    created_at: datetime
    updated_at: datetime
    stage: str


class RegistryStore:
    """Rows of the registry of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def take_turn(self, *models: str) -> None:
        """Let nobody else change these models, their versions or aliases until the transaction ends."""
        for model in sorted(models):  # all who name several wait in the same order
            Raw(self._connection).take_turn("model", self._project, model)

    def add_model(self, model: Model) -> None:
        """Enter a model; the unique name may refuse it."""
        values = {name: getattr(model, name) for name in _MODEL} | {"task": model.task or ""}
        self._connection.execute(MODEL.insert().values(project=self._project, **values))

    def find_model(self, name: str, *, deleted: bool = False) -> Model | None:
        """A model by name, a retired one only where that is asked for."""
        found = self._models(MODEL.c.name == name, MODEL.c.deleted_at.is_not(None) if deleted else MODEL.c.deleted_at.is_(None))
        return found[0] if found else None

    def model(self, name: str) -> Model:
        """A model by name. Raises NotFound."""
        found = self.find_model(name)
        if found is None:
            raise NotFound(f"There is no model {name!r}.", code="registry.no_model", hint="`rung model list` shows them.")
        return found

    def models(self, *, deleted: bool = False) -> tuple[Model, ...]:
        """Models by name, or the retired ones."""
        return tuple(self._models(MODEL.c.deleted_at.is_not(None) if deleted else MODEL.c.deleted_at.is_(None)))

    def change_model(self, name: str, **values: Any) -> None:
        """Change columns of a model."""
        if "task" in values:
            values["task"] = values["task"] or ""
        self._connection.execute(MODEL.update().where(self._of(MODEL), MODEL.c.name == name).values(**values))

    def next_number(self, model: str) -> int:
        """The number after the greatest ever given, deleted versions included."""
        query = select(func.max(VERSION.c.number)).where(self._of(VERSION), VERSION.c.model == model)
        return int(self._connection.execute(query).scalar() or 0) + 1

    def add_version(self, version: ModelVersion) -> None:
        """Enter a version; the unique number may refuse it."""
        values = {name: getattr(version, name) for name in (*_VERSION, "engine")}
        self._connection.execute(VERSION.insert().values(project=self._project, record=replaced(version, engine=None), **values))

    def complete_version(self, version: ModelVersion) -> None:
        """Put a version whose gaps were filled in the place of the one before."""
        self.change_version(
            version.model, version.number, record=replaced(version, engine=None), digest=version.digest, engine=version.engine
        )

    def find_version(self, model: str, number: int) -> ModelVersion | None:
        """A version by number, deleted ones too."""
        found = self._versions(_THIS, (model, number), limit=1)
        return found[0] if found else None

    def version(self, model: str, number: int | None = None) -> ModelVersion:
        """A version by number, deleted ones too; without one the newest that is not deleted. Raises NotFound."""
        newest = ("model = ? AND deleted_at IS NULL", (model,))
        found = self._versions(*newest if number is None else (_THIS, (model, number)), limit=1)
        if found:
            return found[0]
        self.model(model)
        missing = f"has no version {number}" if number is not None else "has no versions"
        raise NotFound(f"Model {model!r} {missing}.", code="registry.no_version", hint=f"`rung model versions {model}` shows them.")

    def versions(self, model: str, *, before: int | None, limit: int, deleted: bool = False) -> Page[ModelVersion]:
        """Versions that are not deleted, or those that are, newest first."""
        where = f"model = ? AND deleted_at IS {'NOT NULL' if deleted else 'NULL'}"
        parameters: tuple[str | int, ...] = (model,)
        if before is not None:
            where, parameters = f"{where} AND number < ?", (model, before)
        found = self._versions(where, parameters, limit=limit)
        return Page(items=tuple(found), next=str(found[-1].number) if len(found) == limit else None)

    def change_version(self, model: str, number: int, **values: Any) -> None:
        """Change columns of a version."""
        where = and_(self._of(VERSION), VERSION.c.model == model, VERSION.c.number == number)
        self._connection.execute(VERSION.update().where(where).values(**values))

    def aliases(self, model: str) -> dict[str, int]:
        """Aliases of a model and the versions they point at."""
        mine = (self._project, model)
        rows = _ALIASES.rows(self._connection, "project = ? AND model = ?", mine, tail="ORDER BY alias", columns=("alias", "number"))
        return {row["alias"]: row["number"] for row in rows}

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
        return None if found is None else replaced(msgspec.convert(found, prepared(GateRules)), model=model)

    def add_verdict(self, verdict: Verdict) -> None:
        """Enter a verdict."""
        names = ("id", "model", "number", "created_at")
        values = {name: getattr(verdict, name) for name in names}
        self._connection.execute(VERDICT.insert().values(project=self._project, passed=int(verdict.passed), record=verdict, **values))

    def verdict(self, verdict: str) -> Verdict:
        """One verdict. Raises NotFound."""
        found = self._connection.execute(
            select(VERDICT.c.record, VERDICT.c.model).where(self._of(VERDICT), VERDICT.c.id == verdict)
        ).first()
        if found is None:
            raise NotFound(f"There is no verdict {verdict!r}.", code="registry.no_verdict", hint="`rung model gate` makes one.")
        return replaced(msgspec.convert(found.record, prepared(Verdict)), model=found.model)

    def verdicts(self, model: str, number: int | None = None, limit: int = 100) -> tuple[Verdict, ...]:
        """Verdicts on a model or a version, newest first."""
        query = select(VERDICT.c.record).where(self._of(VERDICT), VERDICT.c.model == model).order_by(VERDICT.c.id.desc()).limit(limit)
        query = query if number is None else query.where(VERDICT.c.number == number)
        return tuple(replaced(msgspec.convert(row[0], prepared(Verdict)), model=model) for row in self._connection.execute(query))

    def holders(self, model: str, number: int | None = None) -> tuple[str, ...]:
        """Who needs a version, or any version of a model, to stay."""
        query = select(HOLD.c.holder).distinct().where(self._of(HOLD), HOLD.c.model == model).order_by(HOLD.c.holder)
        query = query if number is None else query.where(HOLD.c.number == number)
        return tuple(self._connection.execute(query).scalars())

    def hold(self, holder: str, versions: Iterable[tuple[str, int]]) -> None:
        """Let a holder need these versions and no others."""
        self._connection.execute(HOLD.delete().where(self._of(HOLD), HOLD.c.holder == holder))
        for model, number in sorted(set(versions)):
            self._connection.execute(HOLD.insert().values(project=self._project, model=model, number=number, holder=holder))

    def rename(self, model: str, name: str) -> None:
        """Let everything of a model follow its new name."""
        self._connection.execute(MODEL.update().where(self._of(MODEL), MODEL.c.name == model).values(name=name))
        for of in (VERSION, ALIAS, MOVE, RULES, VERDICT):
            self._connection.execute(of.update().where(self._of(of), of.c.model == model).values(model=name))

    def retired_before(self, at: datetime, limit: int) -> list[ModelVersion]:
        """Versions retired before an instant whose files are still named."""
        of = ("project = ? AND deleted_at < ? AND digest <> ''", (self._project, to_micros(at)))
        return self._read(_VERSIONS.rows(self._connection, *of, tail=f"ORDER BY id LIMIT {limit}", columns=_READ))

    def models_retired_before(self, at: datetime, limit: int) -> list[str]:
        """Names of models retired before an instant."""
        query = select(MODEL.c.name).where(self._of(MODEL), MODEL.c.deleted_at < at)
        return list(self._connection.execute(query.order_by(MODEL.c.id).limit(limit)).scalars())

    def remove_model(self, model: str) -> None:
        """Forget a model and its rules; the rows of its versions stay, for their numbers."""
        self._connection.execute(MODEL.delete().where(self._of(MODEL), MODEL.c.name == model))
        self.forget_rules(model)

    def forget_rules(self, model: str) -> None:
        """Let the defaults hold for a model."""
        self._connection.execute(RULES.delete().where(self._of(RULES), RULES.c.model == model))

    def retired_with(self, model: str, at: datetime) -> list[int]:
        """Numbers of the versions that were retired at an instant."""
        query = select(VERSION.c.number).where(self._of(VERSION), VERSION.c.model == model, VERSION.c.deleted_at == at)
        return list(self._connection.execute(query.order_by(VERSION.c.number)).scalars())

    def numbers(self, model: str) -> list[int]:
        """Numbers of the versions that are not retired."""
        query = select(VERSION.c.number).where(self._of(VERSION), VERSION.c.model == model, VERSION.c.deleted_at.is_(None))
        return list(self._connection.execute(query.order_by(VERSION.c.number)).scalars())

    def staged(self, model: str, stage: str) -> list[int]:
        """Numbers of the versions in a stage, the one moved there last first."""
        query = select(VERSION.c.number).where(
            self._of(VERSION), VERSION.c.model == model, VERSION.c.stage == stage, VERSION.c.deleted_at.is_(None)
        )
        return list(self._connection.execute(query.order_by(VERSION.c.staged_at.desc(), VERSION.c.number.desc())).scalars())

    def among(self, *, models: Sequence[str] | None = None, runs: Sequence[str] | None = None) -> list[ModelVersion]:
        """Versions that are not retired, of some models or runs only where they are given."""
        return self._read(_VERSIONS.rows(self._connection, *self._living(models, runs), tail="ORDER BY id DESC", columns=_READ))

    def sketches(self, *, models: Sequence[str] | None = None, runs: Sequence[str] | None = None) -> list[Sketch]:
        """What most searches ask of the same versions, without reading their records."""
        rows = _VERSIONS.rows(self._connection, *self._living(models, runs), columns=_SKETCHED)
        return [Sketch(**row | {"updated_at": row["updated_at"] or row["created_at"], "stage": row["stage"] or "none"}) for row in rows]

    def versions_by_id(self, ids: Sequence[str]) -> list[ModelVersion]:
        """Versions in the order of their ids."""
        found: dict[str, ModelVersion] = {}
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            rows = _VERSIONS.rows(self._connection, f"project = ? AND id IN ({_marks(some)})", (self._project, *some), columns=_READ)
            found |= {version.id: version for version in self._read(rows)}
        return [found[name] for name in ids]

    def _living(self, models: Sequence[str] | None, runs: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
        where = "project = ? AND deleted_at IS NULL"
        for column, values in (("model", models), ("run_id", runs)):
            where += "" if values is None else f" AND {column} IN ({_marks(values)})"
        return where, (self._project, *(models or ()), *(runs or ()))

    def _models(self, *where: Any) -> list[Model]:
        rows = self._connection.execute(select(MODEL).where(self._of(MODEL), *where).order_by(MODEL.c.name)).mappings().all()
        names = [row["name"] for row in rows]
        counting = (
            select(VERSION.c.model, func.count().label("versions"), func.max(VERSION.c.number).label("newest"))
            .where(self._of(VERSION), VERSION.c.deleted_at.is_(None))
            .group_by(VERSION.c.model)
        )
        aliases = select(ALIAS.c.model, ALIAS.c.alias, ALIAS.c.number).where(self._of(ALIAS)).order_by(ALIAS.c.alias)
        if len(names) == 1:
            counting, aliases = counting.where(VERSION.c.model == names[0]), aliases.where(ALIAS.c.model == names[0])
        counts = {row.model: row for row in self._connection.execute(counting)}
        held: dict[str, dict[str, int]] = {}
        for model, alias, number in self._connection.execute(aliases):
            held.setdefault(model, {})[alias] = number
        found = []
        for row in rows:
            count = counts.get(row["name"])
            values = {name: row[name] for name in _MODEL} | {"task": row["task"] or None, "gated": row["gated"] is not False}
            values["updated_at"] = row["updated_at"] or row["created_at"]
            found.append(
                Model(
                    **values, aliases=held.get(row["name"], {}), versions=count.versions if count else 0,
                    newest=count.newest if count else None,
                )
            )  # fmt: skip
        return found

    def _versions(self, where: str, parameters: Sequence[Any], *, limit: int) -> list[ModelVersion]:
        newest = f"ORDER BY number DESC LIMIT {limit}"
        rows = _VERSIONS.rows(self._connection, f"project = ? AND {where}", (self._project, *parameters), tail=newest, columns=_READ)
        return self._read(rows)

    def _read(self, rows: Sequence[dict[str, Any]]) -> list[ModelVersion]:
        """Versions from their rows; what may change stands in columns, which go before the record."""
        found = []
        held: dict[tuple[str, int], list[str]] = {}
        models = sorted({row["model"] for row in rows})
        where, asked = "project = ?", [self._project]
        if len(models) <= _FEW:
            where, asked = f"{where} AND model IN ({_marks(models)})", [*asked, *models]
        for alias in _ALIASES.rows(self._connection, where, asked, tail="ORDER BY alias", columns=("model", "number", "alias")):
            held.setdefault((alias["model"], alias["number"]), []).append(alias["alias"])
        for row in rows:
            version = msgspec.json.decode(row.pop("record"), type=prepared(ModelVersion))
            created_at, engine = row.pop("created_at"), row.pop("engine")
            row |= {"updated_at": row["updated_at"] or created_at, "stage": row["stage"] or "none"}
            row["engine"] = None if engine is None else msgspec.convert(engine, prepared(ServingEngine))
            found.append(replaced(version, **row, aliases=tuple(held.get((row["model"], row["number"]), ()))))
        return found

    def _of(self, of: Any) -> Any:
        return of.c.project == self._project


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values)) or "NULL"


def moved_meanwhile(alias: str, expected: int | None, found: int | None) -> Conflict:
    """What the loser of a race for an alias is told."""
    points = f"points at version {found}" if found else "points nowhere"
    return Conflict(
        f"Alias {alias!r} {points}, not at {expected or 'none'}.", code="registry.alias_moved", hint="Look again, then decide anew."
    )
