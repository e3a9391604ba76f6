"""Rows of experiments."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, func, select

from rung.core.errors import NotFound
from rung.tracking.records import Experiment
from rung.tracking.store.tables import EXPERIMENT, fields


class ExperimentStore:
    """Experiments of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def find(self, *, name: str | None = None, number: int | None = None) -> Experiment | None:
        """An experiment by number or name, deleted ones too."""
        which = EXPERIMENT.c.number == number if number is not None else EXPERIMENT.c.name == name
        row = self._connection.execute(select(EXPERIMENT).where(self._mine(), which)).mappings().first()
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

    def next_run(self, number: int) -> int:
        """The next run number of an experiment, counted on its row, so that two runs never share one."""
        where = and_(self._mine(), EXPERIMENT.c.number == number)
        self._connection.execute(EXPERIMENT.update().where(where).values(runs=EXPERIMENT.c.runs + 1))
        return int(self._connection.execute(select(EXPERIMENT.c.runs).where(where)).scalar_one())

    def _mine(self) -> Any:
        return EXPERIMENT.c.project == self._project


def _experiment(row: Any) -> Experiment:
    return Experiment(**{name: row[name] for name in Experiment.__struct_fields__})
