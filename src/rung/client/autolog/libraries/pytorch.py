"""PyTorch without a trainer: what a script writes for TensorBoard, and the settings of its optimizers.

An optimizer only speaks to a run that is open; a ``SummaryWriter`` opens one if there is none, and closes it with itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from rung.client.active import ActiveRun
from rung.client.autolog.family import AUTOLOGGERS, Hook
from rung.client.autolog.guard import Nobody, inside, quietly
from rung.client.autolog.options import Options, options_of
from rung.client.autolog.patches import Original, Patches, bound
from rung.client.autolog.sessions import Session, open_here, plain
from rung.client.autolog.torching import optimizer_params
from rung.core.errors import Conflict

LIBRARY = "pytorch"
_told: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_counts: dict[str, int] = {}
_writers: weakref.WeakKeyDictionary[Any, Session] = weakref.WeakKeyDictionary()


def _optimizers(module: ModuleType, patches: Patches) -> None:
    handle = module.register_optimizer_step_post_hook(_after_step)
    patches.when_undone(handle.remove)


def _after_step(optimizer: Any, *_: Any) -> None:
    if optimizer in _told or inside.get() is not None or options_of(LIBRARY) is None:
        return
    with quietly("an optimizer could not be logged"):
        run = open_here()
        if run is not None:
            _told[optimizer] = run.id
            _log_optimizer(run, optimizer)


def _log_optimizer(run: ActiveRun, optimizer: Any) -> None:
    nth = _counts[run.id] = _counts.get(run.id, 0) + 1
    name = "optimizer" if nth == 1 else f"optimizer_{nth}"
    params = {key: plain(value) for key, value in optimizer_params(optimizer, name).items()}
    try:
        run.log_params(params)
    except Conflict:  # the script has params of these names
        run.log_params({f"torch.{key}": value for key, value in params.items()})


def _writer(module: ModuleType, patches: Patches) -> None:
    for name, handler in (("add_scalar", scalar), ("add_scalars", scalars), ("add_hparams", hparams), ("close", closing)):
        patches.method(module.SummaryWriter, name, handler)


def scalar(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of SummaryWriter.add_scalar."""
    answer = original(*args, **kwargs)
    options = options_of(LIBRARY)
    if options is not None and inside.get() is None:
        with quietly("a scalar is not logged"):
            given = bound(original, args, kwargs)
            _log(options, args[0], {str(given["tag"]): given["scalar_value"]}, given.get("global_step"))
    return answer


def scalars(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of SummaryWriter.add_scalars."""
    answer = original(*args, **kwargs)
    options = options_of(LIBRARY)
    if options is not None and inside.get() is None:
        with quietly("scalars are not logged"):
            given = bound(original, args, kwargs)
            values = {f"{given['main_tag']}/{key}": value for key, value in given["tag_scalar_dict"].items()}
            _log(options, args[0], values, given.get("global_step"))
    return answer


def hparams(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of SummaryWriter.add_hparams, which writes its metrics through a writer of its own."""
    options = options_of(LIBRARY)
    if options is not None and inside.get() is None:
        with quietly("hparams are not logged"):
            given = bound(original, args, kwargs)
            session = _session(options, args[0])
            session.say(given.get("hparam_dict") or {})
            session.measure({key: float(value) for key, value in (given.get("metric_dict") or {}).items()})
    token = inside.set(Nobody())
    try:
        return original(*args, **kwargs)
    finally:
        inside.reset(token)


def closing(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of SummaryWriter.close: it ends the run that was opened for the writer."""
    answer = original(*args, **kwargs)
    with quietly("the run of a writer could not be closed"):
        session = _writers.pop(args[0], None)
        if session is not None:
            session.close()
    return answer


def _log(options: Options, writer: Any, values: dict[str, Any], step: Any) -> None:
    at = int(step) if step is not None else 0
    if at % options.every_n_steps == 0:
        _session(options, writer).run.log_metrics(values, at)


def _session(options: Options, writer: Any) -> Session:
    held = _writers.get(writer)
    if held is None or held.run.closed:
        held = _writers[writer] = Session(LIBRARY, options, "SummaryWriter")
    return held


@AUTOLOGGERS.member(LIBRARY)
class PyTorch:
    """Scripts without a trainer: what they write for TensorBoard, and the settings of their optimizers."""

    hooks: Mapping[str, Hook] = {
        "torch.optim.optimizer": _optimizers,
        "torch.utils.tensorboard.writer": _writer,
        "tensorboardX.writer": _writer,
    }
    spellings: tuple[str, ...] = ("torch",)
