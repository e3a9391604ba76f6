"""Estimators of scikit-learn and those that follow its protocol, as skops files without time stamps."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from rung.core.errors import Invalid
from rung.pipelines.materialisers.array import compare_arrays
from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Payload

_EPOCH = (1980, 1, 1, 0, 0, 0)


@MATERIALISERS.member("estimator")
class Estimator:
    """Anything with scikit-learn's ``get_params`` that skops can write."""

    rank = 60

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is an instance of scikit-learn's base class, where that is loaded."""
        base = sys.modules.get("sklearn.base")
        return base is not None and isinstance(value, base.BaseEstimator)

    @staticmethod
    def dump(value: Any) -> Payload:
        """The skops archive, its entries in order and dated alike."""
        import skops.io as sio  # noqa: PLC0415 - a second that pipelines without estimators never pay

        return Payload(_canonical(sio.dumps(value)))

    @staticmethod
    def load(payload: Payload, scratch: Path) -> Any:
        """The estimator. Raises Invalid when the file names types that no library of ours has."""
        import skops.io as sio  # noqa: PLC0415 - see dump

        data = payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
        unknown = sio.get_untrusted_types(data=data)
        strangers = [name for name in unknown if name.partition(".")[0] not in sys.modules]
        if strangers:
            raise Invalid(
                f"The estimator's file names {', '.join(strangers)}.",
                code="pipelines.unloadable",
                hint="Import the library that defines it in the step's module.",
            )
        # What a step of this project wrote is read back by a step of this project: its own types are trusted.
        return sio.loads(data, trusted=unknown)

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Same class and settings, learned arrays within the tolerance."""
        if type(original) is not type(repeated):
            return Difference("different", f"was a {type(original).__name__}, is a {type(repeated).__name__}")
        if repr(original.get_params()) != repr(repeated.get_params()):
            return Difference("different", "its parameters differ")
        return _compare_state(original, repeated, tolerance, type(original).__name__, set())


def _compare_state(original: Any, repeated: Any, tolerance: float, name: str, seen: set[int]) -> Difference:
    import numpy as np  # noqa: PLC0415 - sklearn is loaded here, so numpy is

    if id(original) in seen:
        return Difference("identical", "equal")
    seen.add(id(original))
    if isinstance(original, np.ndarray) and original.dtype != object:
        if original.dtype.names:
            parts = [(original[field], repeated[field], f"{name}.{field}") for field in original.dtype.names]
            return _worst(parts, tolerance, seen)
        return compare_arrays(original, np.asarray(repeated), tolerance, name)
    if isinstance(original, (float, int)) and not isinstance(original, bool):
        return compare_arrays(np.asarray(float(original)), np.asarray(float(repeated)), tolerance, name)
    if isinstance(original, (list, tuple, np.ndarray)):
        if len(original) != len(repeated):
            return Difference("different", f"{name} had {len(original)} parts, has {len(repeated)}")
        return _worst([(a, b, f"{name}[{i}]") for i, (a, b) in enumerate(zip(original, repeated, strict=True))], tolerance, seen)
    state = original if isinstance(original, dict) else _state(original)
    other = repeated if isinstance(repeated, dict) else _state(repeated)
    if state is None or other is None:
        same = type(original) is type(repeated) and (isinstance(original, type(repeated)) and repr(original) == repr(repeated))
        return Difference("identical", "equal") if same else Difference("different", f"{name} differs")
    if state.keys() != other.keys():
        return Difference("different", f"{name} has other parts")
    return _worst([(state[key], other[key], f"{name}.{key}") for key in state], tolerance, seen)


def _worst(parts: list[tuple[Any, Any, str]], tolerance: float, seen: set[int]) -> Difference:
    worst = Difference("identical", "equal")
    for a, b, name in parts:
        found = _compare_state(a, b, tolerance, name, seen)
        if found.likeness == "different":
            return found
        worst = found if found.likeness == "equivalent" else worst
    return worst


def _state(value: Any) -> dict[str, Any] | None:
    if hasattr(value, "bit_generator"):
        return dict(value.bit_generator.state)
    if type(value).__name__ == "RandomState":
        return dict(value.get_state(legacy=False))
    return dict(vars(value)) if hasattr(value, "__dict__") and not callable(value) else None


def _canonical(data: bytes) -> bytes:
    """The archive with addresses in memory replaced by numbers in order of appearance, and without dates."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    numbers: dict[str, str] = {}
    schema = _renumbered(json.loads(parts.pop("schema.json")), numbers)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        renamed = {_renamed(name, numbers): content for name, content in parts.items()}
        for name, content in sorted({**renamed, "schema.json": json.dumps(schema).encode()}.items()):
            target.writestr(zipfile.ZipInfo(name, _EPOCH), content, compress_type=zipfile.ZIP_DEFLATED, compresslevel=3)
    return buffer.getvalue()


def _renumbered(node: Any, numbers: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_renumbered(item, numbers) for item in node]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for key, item in node.items():
        if key == "__id__":
            found[key] = int(numbers.setdefault(str(item), str(len(numbers) + 1)))
        elif key == "file" and isinstance(item, str):
            numbers.setdefault(item.partition(".")[0], str(len(numbers) + 1))
            found[key] = _renamed(item, numbers)
        else:
            found[key] = _renumbered(item, numbers)
    return found


def _renamed(name: str, numbers: dict[str, str]) -> str:
    stem, dot, ending = name.partition(".")
    return numbers.get(stem, stem) + dot + ending
