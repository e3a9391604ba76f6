"""Tables of value. Records are kept whole as JSON beside the columns that are searched."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from rung.core.errors import NotFound
from rung.core.records import Record, prepared
from rung.storage.raw import Raw
from rung.storage.sql import Column, Connection, Integer, String, UniqueConstraint, and_, func, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table
from rung.value import records as r

R = TypeVar("R", bound=Record)


def _numbered(name: str) -> Any:
    return table(
        name,
        id_column(),
        project_column(),
        Column("model", String(256), nullable=False),
        Column("number", Integer, nullable=False),
        Column("created_at", InstantType, nullable=False),
        Column("body", JsonType, nullable=False),
        UniqueConstraint("project", "model", "number", name=f"uq_{name}"),
    )


MATRIX = _numbered("value_matrix")
POLICY = _numbered("retraining_policy")
REPORT = _numbered("value_report")
REHEARSAL = _numbered("rehearsal")
GOAL = table(
    "model_goal",
    Column("project", String(32), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("body", JsonType, nullable=False),
)
LEDGER = table(
    "ledger_entry",
    id_column(),
    project_column(),
    Column("model", String(256), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("source", String(250), nullable=False),
    Column("spent_at", InstantType, nullable=False),
    Column("body", JsonType, nullable=False),
    UniqueConstraint("project", "model", "source", name="uq_ledger_entry"),
)
DECISION = table(
    "decision",
    id_column(),
    project_column(),
    Column("number", Integer, nullable=False),
    Column("deployment", String(128), nullable=False),
    Column("model", String(256), nullable=False),
    Column("action", String(16), nullable=False),
    Column("incident", String(32)),
    Column("as_of", InstantType, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("body", JsonType, nullable=False),
    UniqueConstraint("project", "number", name="uq_decision"),
)
REALISED = table(
    "realised_gain",
    id_column(),
    project_column(),
    Column("decision", String(32), nullable=False),
    Column("model", String(256), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("body", JsonType, nullable=False),
)
_TABLES: dict[type[Record], Any] = {
    r.ValueMatrix: MATRIX,
    r.RetrainingPolicy: POLICY,
    r.ValueReport: REPORT,
    r.Rehearsal: REHEARSAL,
}


class ValueStore:
    """Rows of value of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def take_turn(self, model: str) -> None:
        """Let nobody else book costs or number records of a model until the transaction ends."""
        Raw(self._connection).take_turn("value", self._project, model)

    def next_number(self, kind: type[Record], model: str) -> int:
        """The number after the highest of a kind of record of a model; nobody else is given it until the transaction ends."""
        self.take_turn(model)
        held = _TABLES[kind]
        return int(self._scalar(select(func.max(held.c.number)).where(held.c.project == self._project, held.c.model == model)) or 0) + 1

    def add(self, record: r.ValueMatrix | r.RetrainingPolicy | r.ValueReport | r.Rehearsal) -> None:
        """Enter a numbered record."""
        values = {"id": record.id, "model": record.model, "number": record.number, "created_at": record.created_at}
        self._connection.execute(_TABLES[type(record)].insert().values(project=self._project, body=record, **values))

    def find(self, kind: type[R], model: str, number: int | None = None) -> R | None:
        """A numbered record of a model: the newest, or the one of that number."""
        held = _TABLES[kind]
        query = select(held.c.body).where(held.c.project == self._project, held.c.model == model)
        query = query if number is None else query.where(held.c.number == number)
        found = self._bodies(query.order_by(held.c.number.desc()).limit(1), kind)
        return found[0] if found else None

    def get(self, kind: type[R], model: str, number: int | None = None) -> R:
        """As ``find``. Raises NotFound."""
        found = self.find(kind, model, number)
        if found is None:
            words = {
                r.ValueMatrix: ("value matrix", "value.no_matrix", f"Set one: rung value set {model} --tp 12 --fp -4."),
                r.RetrainingPolicy: (
                    "retraining policy",
                    "value.no_policy",
                    f"Set one: rung retrain policy {model} diagnosed_with_cost --reason …",
                ),
                r.ValueReport: ("value report", "value.no_report", f"Make one: rung value report {model}."),
                r.Rehearsal: ("rehearsal", "value.no_rehearsal", "Run one from Python: client.value.rehearse(…)."),
            }
            noun, code, hint = words[kind]
            which = "" if number is None else f" with number {number}"
            raise NotFound(f"Model {model!r} has no {noun}{which}.", code=code, hint=hint)
        return found

    def list(self, kind: type[R], model: str | None = None, limit: int = 1000) -> tuple[R, ...]:
        """Numbered records, newest first."""
        held = _TABLES[kind]
        query = select(held.c.body).where(held.c.project == self._project)
        query = query if model is None else query.where(held.c.model == model)
        return self._bodies(query.order_by(held.c.id.desc()).limit(limit), kind)

    def newest_each(self, kind: type[R]) -> tuple[R, ...]:
        """The newest record of every model, by model."""
        newest: dict[str, R] = {}
        for record in reversed(self.list(kind, limit=100_000)):
            newest[record.model] = record  # type: ignore[attr-defined]  # all four kinds have a model
        return tuple(newest[name] for name in sorted(newest))

    def set_goal(self, goal: r.Goal) -> None:
        """Enter or replace a model's goal."""
        self._connection.execute(GOAL.delete().where(GOAL.c.project == self._project, GOAL.c.model == goal.model))
        self._connection.execute(GOAL.insert().values(project=self._project, model=goal.model, body=goal))

    def goals(self) -> tuple[r.Goal, ...]:
        """Every model's goal."""
        return self._bodies(select(GOAL.c.body).where(GOAL.c.project == self._project).order_by(GOAL.c.model), r.Goal)

    def add_entry(self, entry: r.LedgerEntry, source: str) -> bool:
        """Enter money spent, once a source; whether it was new."""
        where = (LEDGER.c.project == self._project, LEDGER.c.model == entry.model, LEDGER.c.source == source)
        if self._scalar(select(LEDGER.c.id).where(*where)) is not None:
            return False
        values = {"id": entry.id, "model": entry.model, "kind": entry.kind, "spent_at": entry.spent_at}
        self._connection.execute(LEDGER.insert().values(project=self._project, source=source, body=entry, **values))
        return True

    def entries(self, model: str | None = None, kind: str | None = None) -> tuple[r.LedgerEntry, ...]:
        """The ledger in the order of entry."""
        query = select(LEDGER.c.body).where(LEDGER.c.project == self._project)
        query = query if model is None else query.where(LEDGER.c.model == model)
        query = query if kind is None else query.where(LEDGER.c.kind == kind)
        return self._bodies(query.order_by(LEDGER.c.id), r.LedgerEntry)

    def next_decision(self) -> int:
        """The number after the highest decision's."""
        return int(self._scalar(select(func.max(DECISION.c.number)).where(DECISION.c.project == self._project)) or 0) + 1

    def take_turn_to_decide(self) -> None:
        """Let nobody else decide in this project until the transaction ends."""
        Raw(self._connection).take_turn("decisions", self._project)

    def add_decision(self, decision: r.Decision) -> None:
        """Enter a decision."""
        names = ("id", "number", "deployment", "model", "action", "incident", "as_of", "created_at")
        values = {name: getattr(decision, name) for name in names}
        self._connection.execute(DECISION.insert().values(project=self._project, body=decision, **values))

    def decision(self, key: str) -> r.Decision:
        """A decision by id or number. Raises NotFound."""
        same = DECISION.c.number == int(key) if key.isascii() and key.isdigit() and len(key) < 10 else DECISION.c.id == key  # noqa: PLR2004
        found = self._bodies(select(DECISION.c.body).where(DECISION.c.project == self._project, same), r.Decision)
        if not found:
            raise NotFound(f"There is no decision {key!r}.", code="value.no_decision", hint="`rung retrain list` shows them.")
        return found[0]

    def decisions(
        self,
        *,
        deployment: str | None = None,
        model: str | None = None,
        action: str | None = None,
        incident: str | None = None,
        limit: int = 1000,
    ) -> tuple[r.Decision, ...]:
        """Decisions, newest first."""
        query = select(DECISION.c.body).where(DECISION.c.project == self._project)
        for name, wanted in (("deployment", deployment), ("model", model), ("action", action), ("incident", incident)):
            query = query if wanted is None else query.where(DECISION.c[name] == wanted)
        return self._bodies(query.order_by(DECISION.c.number.desc()).limit(limit), r.Decision)

    def add_realised(self, gain: r.RealisedGain) -> None:
        """Enter a realised gain."""
        values = {"id": gain.id, "decision": gain.decision, "model": gain.model, "created_at": gain.created_at}
        self._connection.execute(REALISED.insert().values(project=self._project, body=gain, **values))

    def realised(self, *, model: str | None = None, decision: str | None = None) -> tuple[r.RealisedGain, ...]:
        """Realised gains, newest first."""
        query = select(REALISED.c.body).where(REALISED.c.project == self._project)
        query = query if model is None else query.where(REALISED.c.model == model)
        query = query if decision is None else query.where(REALISED.c.decision == decision)
        return self._bodies(query.order_by(REALISED.c.id.desc()), r.RealisedGain)

    def rename_model(self, model: str, name: str) -> None:
        """Let every record of a model follow its new name, before what was recorded under that already."""
        for one in sorted((model, name)):
            self.take_turn(one)
        self._make_room(model, name)
        for of in (MATRIX, POLICY, REPORT, REHEARSAL, GOAL, LEDGER, DECISION, REALISED):
            mine = and_(of.c.project == self._project, of.c.model == model)
            key = of.c.id if "id" in of.c else of.c.model
            for held, body in self._connection.execute(select(key, of.c.body).where(mine)).all():
                renamed = {**body, "model": name}
                self._connection.execute(of.update().where(mine, key == held).values(model=name, body=renamed))

    def _make_room(self, model: str, name: str) -> None:
        """Number what the new name has behind what follows it; a goal and costs that both have are those of the new name."""
        for of in _TABLES.values():
            given = int(self._scalar(select(func.max(of.c.number)).where(of.c.project == self._project, of.c.model == model)) or 0)
            newer = select(of.c.id, of.c.number, of.c.body).where(of.c.project == self._project, of.c.model == name)
            for held, number, body in self._connection.execute(newer.order_by(of.c.number.desc())).all() if given else ():
                later = number + given
                self._connection.execute(of.update().where(of.c.id == held).values(number=later, body={**body, "number": later}))
        for of, key in ((GOAL, GOAL.c.project), (LEDGER, LEDGER.c.source)):
            both = select(key).where(of.c.project == self._project, of.c.model == name)
            self._connection.execute(of.delete().where(of.c.project == self._project, of.c.model == model, key.in_(both)))

    def _bodies(self, query: Any, kind: type[R]) -> tuple[R, ...]:
        return tuple(msgspec.convert(body, prepared(kind)) for body in self._connection.execute(query).scalars())

    def _scalar(self, query: Any) -> Any:
        return self._connection.execute(query).scalar()
