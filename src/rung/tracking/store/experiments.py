"""Rows of experiments."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from rung.core.errors import NotFound
from rung.storage.raw import Raw
from rung.tracking.records import Experiment
from rung.tracking.store.tables import EXPERIMENT, fields

# Built once: building a statement costs more than running it.
_OURS = select(EXPERIMENT).where(EXPERIMENT.c.project == bindparam("of"))
_BY_NUMBER = _OURS.where(EXPERIMENT.c.number == bindparam("wanted"))
_BY_NAME = _OURS.where(EXPERIMENT.c.name == bindparam("wanted"))


class ExperimentStore:
    """Experiments of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def find(self, *, name: str | None = None, number: int | None = None) -> Experiment | None:
        """An experiment by number or name, deleted ones too."""
        query, wanted = (_BY_NUMBER, number) if number is not None else (_BY_NAME, name)
        row = self._connection.execute(query, {"of": self._project, "wanted": wanted}).mappings().first()
        return None if row is None else _experiment(row)

    def get(self, number: int) -> Experiment:
        """An experiment by number. Raises NotFound."""
        found = self.find(number=number)
        if found is None:
            raise NotFound(f"There is no experiment {number}.", code="tracking.no_experiment", hint="`rung experiments list` shows them.")
        return found

    def all(self) -> tuple[Experiment, ...]:
        """Every experiment, newest first, deleted ones too."""
        query = select(EXPERIMENT).where(self._mine()).order_by(EXPERIMENT.c.number.desc())
        return tuple(_experiment(row) for row in self._connection.execute(query).mappings())

    def next_number(self) -> int:
        """The number after the greatest ever given; 0 stays for the default experiment."""
        greatest = self._connection.execute(select(func.max(EXPERIMENT.c.number)).where(self._mine())).scalar()
        return max(int(greatest or 0), 0) + 1

    def add(self, experiment: Experiment) -> None:
        """Enter an experiment; the unique name may refuse it."""
        self._connection.execute(EXPERIMENT.insert().values(project=self._project, runs=0, **fields(experiment)))

    def change(self, number: int, **values: Any) -> None:
        """Change columns of an experiment."""
        self._connection.execute(EXPERIMENT.update().where(self._mine(), EXPERIMENT.c.number == number).values(**values))

    def remove(self, number: int) -> None:
        """Forget an experiment for good."""
        self._connection.execute(EXPERIMENT.delete().where(self._mine(), EXPERIMENT.c.number == number))

    def next_run(self, number: int, count: int = 1) -> int:
        """The next run number of an experiment, or the first of several, counted on its row, so that two runs never share one."""
        sql = "UPDATE experiment SET runs = runs + ? WHERE project = ? AND number = ? RETURNING runs"
        return int(Raw(self._connection).rows(sql, (count, self._project, number))[0][0]) - count + 1

    def _mine(self) -> Any:
        return EXPERIMENT.c.project == self._project


def _experiment(row: Any) -> Experiment:
    return Experiment(**{name: row[name] for name in Experiment.__struct_fields__})
