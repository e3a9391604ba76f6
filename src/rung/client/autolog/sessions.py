"""Where one watched call logs to: the run that is open, or one opened for it and closed after it."""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any

from rung.client.active import ActiveRun, open_runs
from rung.client.autolog.options import Options
from rung.client.current import active_run, start_run
from rung.client.endings import status_of
from rung.client.scalars import LONGEST_KEY
from rung.core.errors import Conflict
from rung.core.ids import new_id
from rung.tracking.records import Input, LogBatch, ModelMetric, ParamValue

_MOST_PARAMS = 500
_LONGEST_TEXT = 1000
_ours: weakref.WeakSet[ActiveRun] = weakref.WeakSet()
_calls: dict[str, int] = {}
_opened: deque[str] = deque(maxlen=1000)


class Session:
    """Logs one call. The second call in the same run, and each later one, has the names of its params, metrics and files
    begin with ``Title_2``, so that none overwrites another."""

    def __init__(self, library: str, options: Options, title: str) -> None:
        found = open_here()
        self.opened = found is None
        self.options = options
        self.title = title
        if found is None:
            found = start_run(options.experiment, title, tags={"rung.autolog": library, **options.tags})
            _ours.add(found)
            _opened.append(found.id)
        self.run = found
        self.nth = _calls[self.run.id] = _calls.get(self.run.id, 0) + 1
        self.model: str | None = None

    @property
    def label(self) -> str:
        """Name of this call within the run: empty for the first."""
        return "" if self.nth == 1 else f"{self.title}_{self.nth}"

    def key(self, name: str) -> str:
        """A param's or metric's name within the run."""
        return (f"{self.label}.{name}" if self.label else name)[:LONGEST_KEY]

    def path(self, name: str) -> str:
        """A file's name within the run."""
        return f"{self.label}/{name}" if self.label else name

    def say(self, params: Mapping[str, Any], inputs: tuple[Input, ...] = (), tags: Mapping[str, str] | None = None) -> None:
        """Write params, data and tags; a param that the run has with another value gets the call's name in front."""
        kept = {self.key(key): plain(value) for key, value in list(params.items())[:_MOST_PARAMS]}
        batch = LogBatch(run=self.run.id, batch=new_id(), params=kept, inputs=inputs, tags=dict(tags or {}))
        try:
            self.run.ask(batch)
        except Conflict:
            other = {f"{self.title}_{self.nth}.{key}"[:LONGEST_KEY]: plain(value) for key, value in list(params.items())[:_MOST_PARAMS]}
            self.run.ask(LogBatch(run=self.run.id, batch=new_id(), params=other, inputs=inputs, tags=dict(tags or {})))

    def measure(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics, of the run and of the model that the call made."""
        if not metrics:
            return
        self.run.log_metrics({self.key(key): value for key, value in metrics.items()}, step)
        if self.model is not None:
            points = tuple(ModelMetric(model=self.model, key=key, value=float(value), step=step) for key, value in metrics.items())
            self.run.ask(LogBatch(run=self.run.id, batch=new_id(), model_metrics=points))

    def keep(self, content: bytes | str, path: str) -> None:
        """Store a file."""
        self.run.log_artifact(content.encode("utf-8", "replace") if isinstance(content, str) else content, self.path(path))

    def close(self, error: BaseException | None = None) -> None:
        """End the run if it was opened for this call."""
        if self.opened:
            self.run.finish(*status_of(error))
        if len(_calls) > 10_000:  # noqa: PLR2004 - a long-lived process with many runs
            _calls.pop(next(iter(_calls)))


def opened_runs() -> list[str]:
    """Ids of the last thousand runs that were opened for a call."""
    return list(_opened)


def log_later(run: ActiveRun, metrics: Mapping[str, float], step: int, model: str | None) -> None:
    """Log metrics to a run that may have ended since."""
    points = tuple(ModelMetric(model=model, key=key, value=float(value), step=step) for key, value in metrics.items()) if model else ()
    if not run.closed:
        run.log_metrics(metrics, step)
        if points:
            run.ask(LogBatch(run=run.id, batch=new_id(), model_metrics=points))
    elif not run.offline:
        run.client.tracking.log(run.id, metrics=metrics, step=step)
        if points:
            run.client.transport.call(LogBatch(run=run.id, batch=new_id(), model_metrics=points))


def plain(value: Any) -> ParamValue:
    """A param's value as it is kept: numbers, texts and None as they are, all else as a short text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    return _text(value, 0)[:_LONGEST_TEXT].replace("\0", "")


def _text(value: Any, depth: int) -> str:
    if isinstance(value, str):
        return value if depth == 0 else repr(value)
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"{type(value).__name__} of shape {shape}"
    if hasattr(value, "item") and shape == ():
        return str(value.item())
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value).__name__
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, dict) and depth < 3:  # noqa: PLR2004 - deep ones are cut anyway
        return "{" + ", ".join(f"{key!r}: {_text(item, depth + 1)}" for key, item in list(value.items())[:50]) + "}"
    if isinstance(value, (list, tuple)) and depth < 3:  # noqa: PLR2004 - see above
        texts = ", ".join(_text(item, depth + 1) for item in value[:50])
        return f"[{texts}]" if isinstance(value, list) else f"({texts})"
    return repr(value) if " at 0x" not in repr(value) else type(value).__name__


def open_here() -> ActiveRun | None:
    """The run that is open for this thread of control; one opened by us for another thread's fit is not."""
    found = active_run()
    if found is None or found in _ours:
        others = [run for run in open_runs() if run not in _ours]
        return others[0] if len(others) == 1 else None
    return found
