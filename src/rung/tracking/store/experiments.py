"""Rows of experiments."""

from __future__ import annotations

from typing import Any

from rung.core.errors import NotFound
from rung.storage.plain import Plain
from rung.storage.raw import Raw
from rung.storage.sql import Connection
from rung.tracking.records import Experiment
from rung.tracking.store.tables import EXPERIMENT, fields

_EXPERIMENT = Plain(EXPERIMENT)
_THIS = "project = ? AND number = ?"


class ExperimentStore:
    """Experiments of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def find(self, *, name: str | None = None, number: int | None = None) -> Experiment | None:
        """An experiment by number or name, deleted ones too."""
        column, wanted = ("number", number) if number is not None else ("name", name)
        row = _EXPERIMENT.first(self._connection, f"project = ? AND {column} = ?", (self._project, wanted))
        return None if row is None else _experiment(row)

    def get(self, number: int) -> Experiment:
        """An experiment by number. Raises NotFound."""
        found = self.find(number=number)
        if found is None:
            raise NotFound(f"There is no experiment {number}.", code="tracking.no_experiment", hint="`rung experiments list` shows them.")
        return found

    def all(self) -> tuple[Experiment, ...]:
        """Every experiment, newest first, deleted ones too."""
        rows = _EXPERIMENT.rows(self._connection, "project = ?", (self._project,), tail="ORDER BY number DESC")
        return tuple(_experiment(row) for row in rows)

    def take_turn(self) -> None:
        """Let nobody else make or change experiments of the project until the transaction ends."""
        Raw(self._connection).take_turn("experiments", self._project)

    def next_number(self) -> int:
        """The number after the greatest ever given; 0 stays for the default experiment. Nobody else is given it: see ``take_turn``."""
        rows = Raw(self._connection).rows("SELECT max(number) FROM experiment WHERE project = ?", (self._project,))
        return max(int(rows[0][0] or 0), 0) + 1

    def add(self, experiment: Experiment) -> None:
        """Enter an experiment; the unique name may refuse it."""
        _EXPERIMENT.insert(self._connection, {"project": self._project, "runs": 0, **fields(experiment)})

    def change(self, number: int, **values: Any) -> None:
        """Change columns of an experiment."""
        _EXPERIMENT.update(self._connection, values, _THIS, (self._project, number))

    def remove(self, number: int) -> None:
        """Forget an experiment for good."""
        Raw(self._connection).change(f"DELETE FROM experiment WHERE {_THIS}", (self._project, number))  # noqa: S608 - names of ours

    def next_run(self, number: int, count: int = 1) -> int:
        """The next run number of an experiment, or the first of several, counted on its row, so that two runs never share one."""
        sql = "UPDATE experiment SET runs = runs + ? WHERE project = ? AND number = ? RETURNING runs"
        return int(Raw(self._connection).rows(sql, (count, self._project, number))[0][0]) - count + 1


def _experiment(row: Any) -> Experiment:
    return Experiment(**{name: row[name] for name in Experiment.__struct_fields__})
