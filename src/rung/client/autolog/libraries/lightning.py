"""Lightning: ``Trainer.fit`` by a callback of ours for its duration; ``test`` and ``validate`` go to the run of the fit."""

from __future__ import annotations

import contextlib
import importlib.util
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from rung.client.autolog.family import AUTOLOGGERS, Hook
from rung.client.autolog.guard import inside, observed, quietly
from rung.client.autolog.later import Fitted
from rung.client.autolog.options import Options, options_of
from rung.client.autolog.patches import Original, Patches, bound
from rung.client.autolog.sessions import Session
from rung.client.autolog.tables import described, frame_of
from rung.client.autolog.torching import optimizer_params, summary, weights
from rung.core.references import Task
from rung.tracking.records import Input

LIBRARY = "lightning"
_TRAINER = (
    "max_epochs",
    "min_epochs",
    "max_steps",
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "num_devices",
    "world_size",
)
_STOPPING = ("monitor", "patience", "mode", "min_delta")
_EXAMPLE_ROWS, _TRIED_ROWS = 100, 10_000
_fitted: weakref.WeakKeyDictionary[Any, Fitted] = weakref.WeakKeyDictionary()
_bases: dict[str, Any] = {}


def _library(module: ModuleType, patches: Patches) -> None:
    _bases[module.__name__] = module.Callback
    patches.method(module.Trainer, "fit", fitting)
    for name in ("test", "validate"):
        patches.method(module.Trainer, name, testing)


def fitting(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of Trainer.fit; of several processes only the first logs."""
    options = options_of(LIBRARY)
    if options is None or not args:
        return original(*args, **kwargs)
    trainer = args[0]

    def watch() -> LightningFit | None:
        if getattr(trainer, "global_rank", 0) != 0:
            return None
        return LightningFit(options, trainer, bound(original, args, kwargs).get("model"))

    return observed(original, args, kwargs, watch)


def testing(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of Trainer.test or validate, after a fit."""
    answer = original(*args, **kwargs)
    if inside.get() is None and options_of(LIBRARY) is not None and args:
        with quietly("a test could not be logged"):
            fitted = _fitted.get(args[0])
            if fitted is not None:
                for held in answer or ():
                    for key, value in held.items():
                        fitted.log(str(key), float(value))
    return answer


class LightningFit:
    """Logs one fit of a Trainer."""

    library = LIBRARY

    def __init__(self, options: Options, trainer: Any, model: Any) -> None:
        self.options = options
        self.trainer = trainer
        self.model = model
        self.session = Session(LIBRARY, options, type(model).__name__)
        self.started = time.perf_counter()
        base = next(held for name, held in _bases.items() if type(trainer).__module__.startswith(name) or len(_bases) == 1)
        self.callback = _callback(base, self)
        self._rates: list[float] = []
        self._ended: int | None = None
        self._rows: Any = None
        self._task: Task | None = None
        trainer.callbacks.append(self.callback)

    def begun(self, trainer: Any, module: Any) -> None:
        """The trainer has its optimizers and loaders."""
        params = {"model": type(module).__name__, **{name: getattr(trainer, name, None) for name in _TRAINER}}
        params |= {f"hparams.{key}": value for key, value in dict(getattr(module, "hparams", None) or {}).items()}
        for place, optimizer in enumerate(trainer.optimizers):
            params |= optimizer_params(optimizer, "optimizer" if place == 0 else f"optimizer_{place + 1}")
        for place, config in enumerate(getattr(trainer, "lr_scheduler_configs", ())):
            params["scheduler" if place == 0 else f"scheduler_{place + 1}"] = type(config.scheduler).__name__
        for stop in _early_stopping(trainer):
            params |= {f"early_stopping.{name}": getattr(stop, name, None) for name in _STOPPING}
        loader = getattr(trainer, "train_dataloader", None)
        params["batch_size"] = getattr(loader, "batch_size", None)
        dataset = getattr(loader, "dataset", None)
        with quietly("the model cannot be kept as a graph"):
            self._rows, self._task = rows_of(dataset)
        found = _input(dataset) if self.options.datasets else None
        self.session.say({key: value for key, value in params.items() if value is not None}, (found,) if found else ())
        self.session.keep(summary(module), "model_summary.txt")

    def stepped(self, trainer: Any) -> None:
        """A batch is trained: what the module logs by the step."""
        step = int(trainer.global_step)
        if step % self.options.every_n_steps == 0:
            self._log({key: float(value) for key, value in trainer.callback_metrics.items() if key.endswith("_step")}, step)

    def epoch_begun(self, trainer: Any) -> None:
        """Learning rates are noted before the schedulers change them."""
        self.caught_up(trainer)
        self._rates = [float(optimizer.param_groups[0]["lr"]) for optimizer in trainer.optimizers]

    def epoch_ended(self, trainer: Any) -> None:
        """An epoch is over, its validation included; the module itself may still log to it."""
        if not trainer.sanity_checking:
            self._ended = int(trainer.current_epoch)

    def caught_up(self, trainer: Any) -> None:
        """Log the epoch that has ended, now that everybody had a chance to."""
        epoch, self._ended = self._ended, None
        if epoch is None or (epoch % self.options.every_n_epochs and epoch + 1 != trainer.max_epochs):
            return
        rates = {"lr" if place == 0 else f"lr_{place + 1}": rate for place, rate in enumerate(self._rates)}
        held = {key: float(value) for key, value in trainer.callback_metrics.items() if not key.endswith("_step")}
        self._log({**held, **rates}, epoch)

    def _log(self, values: dict[str, float], step: int) -> None:
        if values:
            self.session.run.log_metrics({self.session.key(key): value for key, value in values.items()}, step)

    def failed(self, error: BaseException) -> None:
        """The fit raised."""
        try:
            self._forget_callback()
            self.caught_up(self.trainer)
        finally:
            self.session.close(error)

    def succeeded(self, result: Any) -> None:
        """The fit is done."""
        self._forget_callback()
        try:
            with quietly("how the training ended is not logged"):
                self._log_end()
            if self.options.models and self._rows is not None:
                with quietly(f"the {type(self.model).__name__} is no logged model"):
                    self._keep_model()
            if self.options.models:
                with quietly(f"the weights of {type(self.model).__name__} are not kept"):
                    self._keep_weights()
            _fitted[self.trainer] = Fitted(self.session.run, self.session.label, None, None, self.session.title)
        finally:
            self.session.close()

    def _log_end(self) -> None:
        trainer = self.trainer
        found = {"fit_s": time.perf_counter() - self.started, "epochs": float(trainer.current_epoch)}
        for stop in _early_stopping(trainer):
            if stop.stopped_epoch:
                found["stopped_epoch"] = float(stop.stopped_epoch)
            found["best_" + str(stop.monitor)] = float(stop.best_score)
        self.session.measure(found)

    def _keep_model(self) -> None:
        """As an ONNX graph, where its inputs are rows of numbers and ONNX has a word for each of its parts."""
        from rung.client.modelling import log_model  # noqa: PLC0415 - loads the model formats

        session = self.session
        model = log_model(
            self.model, session.label or "model", example=self._rows, run=session.run, task=self._task,
            keep_example=self.options.input_examples,
        )  # fmt: skip
        session.model = model.id

    def _keep_weights(self) -> None:
        kept = getattr(self.trainer, "checkpoint_callback", None)
        best = Path(str(getattr(kept, "best_model_path", "") or ""))
        if best.is_file():
            self.session.run.log_artifact(best, self.session.path(f"checkpoints/{best.name}"))
            score = getattr(kept, "best_model_score", None)
            if score is not None:
                self.session.measure({"best_model_score": float(score)})
        if importlib.util.find_spec("safetensors") is not None:
            self.session.keep(weights(self.model), "model.safetensors")

    def _forget_callback(self) -> None:
        with contextlib.suppress(ValueError):
            self.trainer.callbacks.remove(self.callback)


def _callback(base: Any, fit: LightningFit) -> Any:
    class LogTraining(base):  # type: ignore[misc]  # its base is known only where Lightning is loaded
        """Hands what happens to the fit that logs it."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            with quietly("the params could not be logged"):
                fit.begun(trainer, pl_module)

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            with quietly("metrics of an epoch are not logged"):
                fit.epoch_begun(trainer)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            with quietly("metrics of an epoch are not logged"):
                fit.caught_up(trainer)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            with quietly("metrics of a step are not logged"):
                fit.stepped(trainer)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            with quietly("metrics of an epoch are not logged"):
                fit.epoch_ended(trainer)

        def __reduce__(self) -> tuple[Any, ...]:
            return base, ()  # in a process of its own it is a callback that does nothing

    return LogTraining()


def rows_of(dataset: Any) -> tuple[Any, Task | None]:
    """The first rows of a dataset of tensors, if they are rows of numbers, and what its targets ask for."""
    tensors: Any = getattr(dataset, "tensors", None) or ()
    if len(tensors) != 2 or tensors[0].ndim != 2 or tensors[1].ndim > 2:  # noqa: PLR2004 - inputs and targets, rows and columns
        return None, None
    table, target = (item.detach().cpu() for item in tensors)
    kinds = set(target[:_TRIED_ROWS].flatten().tolist())
    if target.is_floating_point():
        task: Task = "binary" if kinds <= {0.0, 1.0} else "regression"
    else:
        task = "binary" if kinds <= {0, 1} else "multiclass"
    return frame_of(table.numpy(), _EXAMPLE_ROWS), task


def _early_stopping(trainer: Any) -> list[Any]:
    return [item for item in trainer.callbacks if hasattr(item, "stopped_epoch") and hasattr(item, "best_score")]


def _input(dataset: Any) -> Input | None:
    """What is said of a dataset made of tensors; of any other only its length is known, which is no digest."""
    tensors = getattr(dataset, "tensors", None)
    if not tensors:
        return None
    tables = [item.detach().cpu().flatten(1).numpy() if item.ndim > 1 else item.detach().cpu().numpy() for item in tensors[:2]]
    return described(tables[0], "train_dataloader", target=tables[1] if len(tables) > 1 else None)


@AUTOLOGGERS.member(LIBRARY)
class Lightning:
    """Lightning's ``Trainer``: settings, epochs, steps, checkpoint and weights of a fit."""

    hooks: Mapping[str, Hook] = {"lightning.pytorch": _library, "pytorch_lightning": _library}
    spellings: tuple[str, ...] = ("pytorch_lightning", "pytorch-lightning")
