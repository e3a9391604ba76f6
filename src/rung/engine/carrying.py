"""Carrying out: call a step with fresh values, keep what it returns, and measure it, wherever that happens."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rung.core.errors import RungError
from rung.engine.executors.family import ItemOutcome, Outcome, Task, resolved, seed_everything, stored
from rung.engine.usage import peak_bytes, reset_peak
from rung.pipelines.context import current_step
from rung.pipelines.outputs import refuse_wrong_type
from rung.pipelines.records import Artifact
from rung.storage.blobs import BlobStore

_WORTH_A_LOOK_S = 0.005  # shorter items are not asked for their own peak: asking takes as long
_UNCHANGING = (str, bytes, int, float, complex, bool, type(None))


def carried_out(task: Task, function: Callable[..., Any], blobs: BlobStore, cpu: Callable[[], float], *, alone: bool = True) -> Outcome:
    """Call a step, once or for each item, and keep what it returns; every way it can end is an outcome.

    Args:
        alone: no other step shares this process, so the peak of its memory is the step's.
    """
    began, used = time.perf_counter(), cpu()
    undeclared: tuple[str, ...] = ()
    measured = alone and reset_peak()
    with _audited(task) as seen:
        if task.items:
            shared = _Shared(task, blobs)
            items = tuple(_item(task, position, function, blobs, cpu, shared) for position in range(len(task.items)))
            done = ItemOutcome("succeeded")
        else:
            items = ()
            done = _called(task, lambda: _resolved(task, task.arguments, blobs), function, blobs, cpu)
    if seen is not None:
        undeclared = tuple(seen.undeclared)
    return Outcome(
        done.status, outputs=done.outputs, error=done.error, wall_s=time.perf_counter() - began, cpu_s=cpu() - used,
        peak_bytes=peak_bytes() if measured else 0, error_types=done.error_types, items=items, undeclared=undeclared,
    )  # fmt: skip


class _Shared:
    """The arguments that all items of a batch have in common. What an item could change is made anew for each."""

    def __init__(self, task: Task, blobs: BlobStore) -> None:
        self._task = task
        self._blobs = blobs
        self._fixed: dict[str, Any] = {}

    def arguments(self) -> dict[str, Any]:
        """The arguments for the next item."""
        found = {}
        for name, value in self._task.arguments.items():
            if name in self._fixed:
                found[name] = self._fixed[name]
                continue
            found[name] = resolved(value, self._blobs, self._task.scratch)
            if isinstance(found[name], _UNCHANGING) or type(found[name]).__module__.startswith(("polars.", "pyarrow.")):
                self._fixed[name] = found[name]
        return found


def _item(
    task: Task, position: int, function: Callable[..., Any], blobs: BlobStore, cpu: Callable[[], float], shared: _Shared
) -> ItemOutcome:
    if not task.seeds:
        return _called(task, lambda: {**shared.arguments(), **_resolved(task, task.items[position], blobs)}, function, blobs, cpu)
    seed = task.seeds[position]
    token = current_step.set(replace(current_step.get() or task.context, seed=seed))
    try:
        if task.draws:
            seed_everything(seed)
        return _called(task, lambda: {**shared.arguments(), **_resolved(task, task.items[position], blobs)}, function, blobs, cpu)
    finally:
        current_step.reset(token)


def _called(
    task: Task, arguments: Callable[[], dict[str, Any]], function: Callable[..., Any], blobs: BlobStore, cpu: Callable[[], float]
) -> ItemOutcome:
    began, used = time.perf_counter(), cpu()
    outputs: tuple[Artifact, ...] = ()
    error, types = "", tuple[str, ...]()
    try:
        value = function(**arguments())
        outputs = stored(refuse_wrong_type(task.step, function, task.outputs, value), task.step, task.outputs, blobs)
    except BaseException as raised:  # a step may raise anything, and is answered for whatever it raises
        traceback.print_exc()
        said = str(raised) if isinstance(raised, RungError) else f"{type(raised).__name__}: {_text(raised)}"
        error, types = f"Step {task.step!r} failed: {said}", error_types(raised)
    wall_s = time.perf_counter() - began
    return ItemOutcome(
        "failed" if types else "succeeded", outputs=outputs, error=error, wall_s=wall_s, cpu_s=cpu() - used, error_types=types,
        peak_bytes=peak_bytes() if wall_s > _WORTH_A_LOOK_S else 0,
    )  # fmt: skip


def _resolved(task: Task, arguments: dict[str, Any], blobs: BlobStore) -> dict[str, Any]:
    return {name: value if isinstance(value, _UNCHANGING) else resolved(value, blobs, task.scratch) for name, value in arguments.items()}


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its own __str__ is the step's code too
        return "(it cannot say more)"


def error_types(error: BaseException) -> tuple[str, ...]:
    """Dotted names of an exception's class and of those it derives from."""
    return tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__ if kind is not object)


@contextmanager
def _audited(task: Task) -> Iterator[Any]:
    if not task.audit:
        yield None
        return
    from rung.pipelines.audit import watched  # noqa: PLC0415 - it hooks into the interpreter, and few runs ask for it

    with watched(task) as seen:
        yield seen
