"""The table of checkpoints: one row a step, or a map's item, of a run that has not succeeded yet."""

from __future__ import annotations

import msgspec

from rung.core.records import prepared
from rung.pipelines.checkpointing import Checkpoint
from rung.storage.raw import Raw
from rung.storage.sql import BigInteger, Column, Connection, Integer, String, select
from rung.storage.tables import InstantType, JsonType, table

CHECKPOINT = table(
    "step_checkpoint",
    Column("project", String(32), primary_key=True),
    Column("pipeline_run", String(32), primary_key=True),
    Column("step", String(250), primary_key=True),
    Column("seed", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("state", JsonType, nullable=False, info={"blobs": ("digest",)}),
    Column("saved_at", InstantType, nullable=False),
)
_KEYS = ("pipeline_run", "step", "seed")


class CheckpointStore:
    """Rows of checkpoints of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def find(self, run: str, step: str, seed: int) -> Checkpoint | None:
        """The newest checkpoint of a step, None when there is none."""
        where = (
            CHECKPOINT.c.project == self._project,
            CHECKPOINT.c.pipeline_run == run,
            CHECKPOINT.c.step == step,
            CHECKPOINT.c.seed == seed,
        )
        row = self._connection.execute(select(CHECKPOINT).where(*where)).mappings().first()
        return None if row is None else msgspec.convert({name: row[name] for name in Checkpoint.__struct_fields__}, prepared(Checkpoint))

    def put(self, checkpoint: Checkpoint) -> None:
        """Enter a checkpoint in the place of the one before."""
        values = {name: getattr(checkpoint, name) for name in Checkpoint.__struct_fields__} | {
            "state": msgspec.to_builtins(checkpoint.state)
        }
        where = [CHECKPOINT.c[name] == values[name] for name in _KEYS]
        changed = CHECKPOINT.update().where(CHECKPOINT.c.project == self._project, *where)
        if self._connection.execute(changed.values(**{k: v for k, v in values.items() if k not in _KEYS})).rowcount == 0:
            self._connection.execute(CHECKPOINT.insert().values(project=self._project, **values))

    def forget(self, run: str) -> None:
        """Remove the checkpoints of a run that needs them no more."""
        Raw(self._connection).change("DELETE FROM step_checkpoint WHERE project = ? AND pipeline_run = ?", (self._project, run))
