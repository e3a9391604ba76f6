"""PyTorch modules as weights in safetensors and a list of known layers: no code, no pickles; on the CPU, or CUDA where there is one.

A module registers as an ONNX graph unless the format ``torch`` is named: this one is for GPUs, and for what ONNX has no word for.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid, Unavailable
from rung.core.references import Task
from rung.registry.format import FORMATS, Scorer, Traits, columns_f, missing_library, numbers, scores, unreadable

WEIGHTS, LAYERS = "model.safetensors", "layers.json"
DEVICE = "RUNG_TORCH_DEVICE"
_KNOWN: dict[str, tuple[str, ...]] = {
    "Linear": ("in_features", "out_features", "bias"), "ReLU": (), "LeakyReLU": ("negative_slope",), "ELU": ("alpha",), "GELU": ("approximate",),
    "SiLU": (), "Tanh": (), "Sigmoid": (), "Softplus": (), "Softmax": ("dim",), "LogSoftmax": ("dim",), "Identity": (), "Dropout": ("p",),
    "BatchNorm1d": ("num_features", "eps"), "LayerNorm": ("normalized_shape", "eps"), "Flatten": (), "Unflatten": ("dim", "unflattened_size"),
    "Conv1d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias"),
    "MaxPool1d": ("kernel_size",), "AvgPool1d": ("kernel_size",),
}  # fmt: skip
_LONGEST = 10_000


class Layer(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One layer: its kind, its settings; a Sequential has parts."""

    kind: str
    settings: dict[str, Any] = {}
    parts: list[Layer] = []


@FORMATS.member("torch")
class TorchModule:
    """A ``torch.nn.Sequential`` of known layers that takes a row a record and a column a feature."""

    rank = 40
    libraries = ("torch", "safetensors", "numpy")
    endings: tuple[str, ...] = ()

    @staticmethod
    def accepts(estimator: Any) -> bool:
        """Whether it is a Sequential, where PyTorch is loaded."""
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(estimator, torch.nn.Sequential)

    @staticmethod
    def save(estimator: Any) -> dict[str, bytes]:
        """Weights and layers. Raises Invalid, naming a layer that is not known."""
        from safetensors.torch import save  # noqa: PLC0415 - comes with PyTorch's extra

        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in estimator.state_dict().items()}
        return {WEIGHTS: save(weights), LAYERS: msgspec.json.encode(_described(estimator))}

    @staticmethod
    def adopt(data: bytes, ending: str) -> dict[str, bytes]:
        """Weights alone do not say what they are of."""
        raise Invalid("Weights alone are no model.", code="registry.no_format", hint="Register the module.")

    @staticmethod
    def traits(files: Mapping[str, bytes]) -> Traits:
        """What the last layer says: a sigmoid or a softmax gives probabilities."""
        layers = _flat(_layers(files))
        last, wide = layers[-1], [layer for layer in layers if layer.kind == "Linear"]
        inputs = (
            columns_f(int(wide[0].settings["in_features"])) if wide and layers[0].kind in {"Linear", "LayerNorm", "BatchNorm1d"} else ()
        )
        if last.kind == "Sigmoid":
            return Traits(task="binary", classes=(0, 1), inputs=inputs)
        if last.kind == "Softmax" and wide:
            count = int(wide[-1].settings["out_features"])
            return Traits(task="binary" if count == 2 else "multiclass", classes=tuple(range(count)), inputs=inputs)  # noqa: PLR2004
        return Traits(task="regression", inputs=inputs)

    @staticmethod
    def load(files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer, on CUDA where there is one. Raises as ``load_on``."""
        return TorchModule.load_on(files, task, "")

    @staticmethod
    def load_on(files: Mapping[str, bytes], task: Task, device: str) -> Scorer:
        """The scorer on a device; empty: what RUNG_TORCH_DEVICE says, else CUDA where there is one.

        Raises:
            Unavailable: PyTorch is not installed, or the device is not there.
            Invalid: layers are not known, weights do not fit them, or the device is none.
        """
        try:
            import torch  # noqa: PLC0415 - optional
            from safetensors import SafetensorError  # noqa: PLC0415
            from safetensors.torch import load  # noqa: PLC0415
        except ImportError:
            raise missing_library("PyTorch", "torch") from None
        there = _device(torch, device or os.environ.get(DEVICE, ""))
        module = _module(_layers(files), torch.nn)
        try:
            module.load_state_dict(load(files[WEIGHTS]), strict=True)
        except (KeyError, RuntimeError, SafetensorError) as error:
            raise unreadable("The weights do not fit the layers", error) from None
        return _Scoring(module, task, torch, there)


class _Scoring:
    """Scores matrices on its device; on a GPU rows go through pinned memory, which is kept for the next batch."""

    def __init__(self, module: Any, task: Task, torch: Any, device: Any) -> None:
        self._torch, self._task, self._device = torch, task, device
        self._module = module.to(self._device).eval()
        self._kind = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
        self._pinned: Any = None
        self._lock = threading.Lock()

    def __call__(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        return self.matrix(numbers(frame))

    def matrix(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores of a matrix."""
        torch = self._torch
        given = torch.from_numpy(np.require(rows, requirements=["C", "W"])).to(self._kind)  # PyTorch takes no arrays it may not write to
        with torch.inference_mode():
            if self._device.type == "cpu":
                return scores(self._module(given).double().numpy(), self._task)
            with self._lock:
                if self._pinned is None or self._pinned.shape[0] < len(rows):
                    self._pinned = torch.empty((max(len(rows), 64), rows.shape[1]), dtype=self._kind, pin_memory=True)
                held = self._pinned[: len(rows)]
                held.copy_(given)
                found = self._module(held.to(self._device, non_blocking=True)).double().cpu()
            return scores(found.numpy(), self._task)


def _device(torch: Any, wanted: str) -> Any:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted in {"", "cpu"}:
        return torch.device("cuda" if not wanted and count else "cpu")
    kind, _, place = wanted.partition(":")
    if kind != "cuda" or (place and not place.isdecimal()):
        raise Invalid(f"{wanted!r} is no device.", code="registry.no_device", hint="Write cpu, cuda, or cuda:N.")
    if int(place or 0) >= count:
        known = ", ".join(["cpu", *(f"cuda:{n}" for n in range(count))])
        raise Unavailable(f"There is no device {wanted!r} here.", code="registry.no_device", hint=f"There are: {known}.")
    return torch.device(wanted)


def _described(module: Any) -> Layer:
    kind = type(module).__name__
    if kind == "Sequential":
        return Layer(kind=kind, parts=[_described(part) for part in module])
    if kind not in _KNOWN or type(module).__module__.partition(".")[0] != "torch":
        raise Invalid(
            f"A layer of the kind {kind} is not known.", code="registry.untrusted_types",
            hint=f"Register the module without naming a format (as ONNX), or build it of {', '.join(sorted(_KNOWN))}.",
        )  # fmt: skip
    settings: dict[str, Any] = {}
    for name in _KNOWN[kind]:
        value = getattr(module, name, None)
        value = value is not None if name == "bias" else value
        settings[name] = list(value) if isinstance(value, (tuple, list)) else value
    return Layer(kind=kind, settings=settings)


def _module(layer: Layer, nn: Any) -> Any:
    if layer.kind == "Sequential":
        return nn.Sequential(*(_module(part, nn) for part in layer.parts))
    if layer.kind not in _KNOWN or not set(layer.settings) <= set(_KNOWN[layer.kind]):
        raise Invalid(f"A layer of the kind {layer.kind!r} is not known.", code="registry.untrusted_types", hint="Register it anew.")
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in layer.settings.items() if value is not None}
    try:
        return getattr(nn, layer.kind)(**settings)
    except (TypeError, ValueError, RuntimeError) as error:
        raise unreadable(f"The layer {layer.kind} cannot be made", error) from None


def _layers(files: Mapping[str, bytes]) -> Layer:
    if set(files) != {WEIGHTS, LAYERS}:
        raise Invalid(
            f"A model of this format has {WEIGHTS} and {LAYERS}, not {', '.join(sorted(files)) or 'nothing'}.", code="registry.wrong_files",
            hint="Register the module.",
        )  # fmt: skip
    try:
        return msgspec.json.decode(files[LAYERS], type=Layer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise unreadable(f"{LAYERS} cannot be read", error) from None


def _flat(layer: Layer) -> list[Layer]:
    found: list[Layer] = []
    waiting = [layer]
    while waiting and len(found) < _LONGEST:
        one = waiting.pop()
        if one.kind == "Sequential":
            waiting += reversed(one.parts)
        else:
            found.append(one)
    if not found:
        raise Invalid("The module has no layers.", code="registry.no_scores", hint="Register one that answers.")
    return found
