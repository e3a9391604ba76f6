"""Slots: at most so many holders of a name at once, over all processes. A slot is held while its job's claim stands.

Nothing renews a slot and nothing needs to clean up after a killed worker: its claim ends, and with it what it held.
"""

from __future__ import annotations

from typing import NamedTuple

from rung.storage.plain import Plain
from rung.storage.raw import Raw
from rung.storage.sql import BigInteger, Column, Connection, Integer, String
from rung.storage.tables import table

SLOT = table(
    "concurrency_slot",
    Column("project", String(32), primary_key=True),
    Column("name", String(260), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("job", String(32), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("holder", String(32), nullable=False),
)
_TAKEN = (
    "SELECT s.number, s.holder, s.job, s.fence, j.fence, j.state FROM concurrency_slot s LEFT JOIN job j ON j.id = s.job"
    " WHERE s.project = ? AND s.name = ? ORDER BY s.number"
)
_SLOT = Plain(SLOT)
_THIS = "project = ? AND name = ? AND number = ? AND holder = ? AND fence = ? AND job = ?"


class _Taken(NamedTuple):
    number: int
    holder: str
    job: str
    fence: int
    newest: int | None
    state: str | None

    def stands(self) -> bool:
        return self.state == "leased" and self.newest == self.fence


class SlotStore:
    """Slots of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def take(self, name: str, *, limit: int, job: str, fence: int, holder: str) -> bool:
        """Take one of the slots of a name for a holder under a job's claim; False when all are held."""
        Raw(self._connection).take_turn("slots", self._project, name)
        rows = self._taken(name)
        held = {row.number for row in rows if row.stands()}
        if any((row.holder, row.job, row.fence) == (holder, job, fence) for row in rows):
            return True
        if len(held) >= limit:
            return False
        number = next(number for number in range(limit + len(held)) if number not in held)
        values = {"job": job, "fence": fence, "holder": holder}
        ended = next((row for row in rows if row.number == number), None)
        if ended is None:
            _SLOT.insert(self._connection, {"project": self._project, "name": name, "number": number, **values})
            return True
        this = (self._project, name, number, ended.holder, ended.fence, ended.job)
        return bool(_SLOT.update(self._connection, values, _THIS, this))

    def give_up(self, name: str, holder: str) -> None:
        """Let go of a holder's slot."""
        mine = (self._project, name, holder)
        Raw(self._connection).change("DELETE FROM concurrency_slot WHERE project = ? AND name = ? AND holder = ?", mine)

    def holders(self, name: str) -> list[str]:
        """Who holds slots of a name now."""
        return [row.holder for row in self._taken(name) if row.stands()]

    def _taken(self, name: str) -> list[_Taken]:
        return [_Taken(*row) for row in Raw(self._connection).rows(_TAKEN, (self._project, name))]
