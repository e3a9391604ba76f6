"""Checkpoints from inside a step: the newest state it saved, by whichever attempt, in whichever process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rung.core.files import kept_if_used
from rung.pipelines.checkpointing import LatestCheckpoint, SaveCheckpoint
from rung.pipelines.materialisers import Payload, load, materialise
from rung.pipelines.records import Artifact


class Checkpoints:
    """The checkpoints of one step of one run; without a run they are kept in memory.

    A state is anything that a step may return. It goes to the blobs first, then one row says that it is the newest, so a
    kill at any moment leaves the one before or the new one.
    """

    def __init__(self, run: str, step: str, seed: int, attempt: int, reach: Callable[[], Any] | None) -> None:
        self._run, self._step, self._seed, self._attempt = run, step, seed, attempt
        self._reach = reach
        self._held: tuple[str, Payload] | None = None

    def save(self, state: Any) -> None:
        """Keep a state in the place of the one before. Raises Invalid for what cannot be kept, Conflict in an attempt that was given up."""
        kind, payload = materialise(state, where=f"checkpoint of step {self._step!r}")
        if self._reach is None:
            self._held = kind, Payload(_bytes(payload), payload.meta)
            return
        transport = self._reach()
        size = len(payload.data) if isinstance(payload.data, bytes) else payload.data.stat().st_size
        state = Artifact(name="state", kind=kind, digest=transport.put_blob(payload.data), size_bytes=size, meta=payload.meta)
        transport.call(SaveCheckpoint(pipeline_run=self._run, step=self._step, seed=self._seed, attempt=self._attempt, state=state))

    def latest(self, default: Any = None) -> Any:
        """A fresh copy of the newest state, ``default`` when none was saved."""
        if self._reach is None:
            return default if self._held is None else self._loaded(*self._held)
        transport = self._reach()
        found = transport.call(LatestCheckpoint(pipeline_run=self._run, step=self._step, seed=self._seed)).checkpoint
        if found is None:
            return default
        return self._loaded(found.state.kind, Payload(transport.get_blob(found.state.digest), found.state.meta))

    @staticmethod
    def _loaded(kind: str, payload: Payload) -> Any:
        with kept_if_used("rung-checkpoint-") as folder:
            return load(kind, payload, folder)


def _bytes(payload: Payload) -> bytes:
    return payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
