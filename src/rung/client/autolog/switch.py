"""``rung.autolog``: turn the watching of libraries on and off."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from rung.client.autolog.family import AUTOLOGGERS, Hook, library
from rung.client.autolog.guard import quietly
from rung.client.autolog.imports import Awaiting
from rung.client.autolog.measuring import unfollow
from rung.client.autolog.options import Options, options_of, watch_with
from rung.client.autolog.patches import Patches
from rung.core.errors import Invalid

_patches: dict[str, Patches] = {}
_awaiting: dict[str, Awaiting] = {}
_lock = threading.RLock()


def autolog(
    libraries: str | Sequence[str] | None = None,
    *,
    disable: bool = False,
    experiment: str = "default",
    models: bool = True,
    datasets: bool = True,
    input_examples: bool = True,
    every_n_steps: int = 1,
    every_n_epochs: int = 1,
    max_children: int = 5,
    sample_rows: int = 10_000,
    tags: Mapping[str, str] | None = None,
    silent: bool = False,
) -> None:
    """Log what scikit-learn, LightGBM, XGBoost, PyTorch and Lightning train from now on.

    A fit logs to the run that is open, else to one opened for it. Libraries imported later are watched too; none is
    imported by this. Calling it again replaces the options. It never breaks or changes a training: what cannot be logged is
    told once as a warning.

    Args:
        libraries: some of ``sklearn lightgbm xgboost pytorch lightning``; default all.
        disable: put back exactly what the libraries were.
        experiment: where runs are opened when none is open.
        models: keep the trained model, in a format that holds no code.
        datasets: say which data went in: name, digest, rows, columns and types; never the rows themselves.
        input_examples: keep the first rows of the inputs beside the model.
        every_n_steps: log every n-th iteration of boosting, every n-th batch of Lightning.
        every_n_epochs: log every n-th epoch.
        max_children: of a search, so many of its best candidates become runs of their own.
        sample_rows: training metrics and figures are computed on at most so many rows.
        tags: set on runs that are opened for a fit.
        silent: no warnings.

    Raises:
        Invalid: there is no such library, or a number makes no sense.
    """
    names = [libraries] if isinstance(libraries, str) else list(libraries if libraries is not None else AUTOLOGGERS.names())
    chosen = [library(name) for name in names]
    for what, value, least in (
        ("every_n_steps", every_n_steps, 1), ("every_n_epochs", every_n_epochs, 1), ("max_children", max_children, 0),
        ("sample_rows", sample_rows, 0),
    ):  # fmt: skip
        if not isinstance(value, int) or value < least:
            raise Invalid(f"{what} is {value!r}.", code="autolog.bad_option", hint=f"Give a whole number of at least {least}.")
    options = Options(
        experiment=experiment, models=models, datasets=datasets, input_examples=input_examples, every_n_steps=every_n_steps,
        every_n_epochs=every_n_epochs, max_children=max_children, sample_rows=sample_rows,
        tags={key: str(value) for key, value in (tags or {}).items()}, silent=silent,
    )  # fmt: skip
    caller = sys._getframe(1).f_globals  # noqa: SLF001 - names such as accuracy_score that were imported there before this call
    with _lock:
        for name in chosen:
            if disable:
                _turn_off(name)
            else:
                _turn_on(name, options, caller)


def watched() -> tuple[str, ...]:
    """Libraries that are watched now."""
    return tuple(name for name in AUTOLOGGERS.names() if options_of(name) is not None)


def _turn_on(name: str, options: Options, caller: dict[str, Any]) -> None:
    watch_with(name, options)
    if name in _patches:
        return
    patches = _patches[name] = Patches(caller)
    awaiting = _awaiting[name] = Awaiting()
    for module, hook in AUTOLOGGERS.get(name).hooks.items():
        awaiting.when_imported(module, _careful(name, hook, patches))


def _careful(name: str, hook: Hook, patches: Patches) -> Any:
    def then(module: ModuleType) -> None:
        with quietly(f"{name} cannot be watched"):
            hook(module, patches)

    return then


def _turn_off(name: str) -> None:
    watch_with(name, None)
    awaiting = _awaiting.pop(name, None)
    if awaiting is not None:
        awaiting.forget()
    patches = _patches.pop(name, None)
    if patches is not None:
        patches.undo()
    if not _patches:
        unfollow()
