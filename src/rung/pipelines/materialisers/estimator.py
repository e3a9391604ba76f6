"""Estimators of scikit-learn and those that follow its protocol, as skops files without time stamps."""

from __future__ import annotations

import io
import itertools
import json
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

from rung.core.errors import Invalid
from rung.pipelines.materialisers.array import compare_arrays
from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Part, Payload

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MOST_PARTS = 50
_ORDER = ("identical", "equivalent", "different")
_NPY_HEAD = 4096
_VALUES = {"JsonNode", "TypeNode", "FunctionNode", "MethodNode", "OperatorFuncNode", "DTypeNode", "SliceNode", "BytesNode"}
_ARRAYS = {"ndarray", "matrix", "memmap", "recarray"}
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodDescriptorType)


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
        same = type(original) is type(repeated) and _name(original) == _name(repeated)
        return Difference("identical", "equal") if same else Difference("different", f"{name} differs")
    if state.keys() != other.keys():
        return Difference("different", f"{name} has other parts")
    return _worst([(state[key], other[key], f"{name}.{key}") for key in state], tolerance, seen)


def _worst(parts: list[tuple[Any, Any, str]], tolerance: float, seen: set[int]) -> Difference:
    """The least alike of some parts, with every part that differs."""
    worst, told = Difference("identical", "equal"), list[Part]()
    for a, b, name in parts:
        found = _compare_state(a, b, tolerance, name, seen)
        told += found.parts[: _MOST_PARTS - len(told)]
        worst = max(worst, found, key=lambda one: _ORDER.index(one.likeness))
    return Difference(worst.likeness, worst.detail, tuple(told))


def _state(value: Any) -> dict[str, Any] | None:
    if hasattr(value, "bit_generator"):
        return dict(value.bit_generator.state)
    if type(value).__name__ == "RandomState":
        return dict(value.get_state(legacy=False))
    if value is None or isinstance(value, (type, str, bytes, bool, *_FUNCTIONS)):
        return None
    if hasattr(value, "__dict__"):
        return dict(vars(value))
    return _reduced(value)


def _reduced(value: Any) -> dict[str, Any] | None:
    """What a compiled object, such as a loss function of scikit-learn, would be made again from; None when it does not say."""
    try:
        maker, arguments, *state = value.__reduce_ex__(2)
    except (TypeError, ValueError):
        return None
    return {"made by": _name(maker), "from": list(arguments), "state": [part for part in state if part is not None]}


def _name(value: Any) -> str:
    """What tells functions, classes and plain values apart, without an address in memory."""
    if isinstance(value, (type, *_FUNCTIONS)):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"
    return repr(value)


def _canonical(data: bytes) -> bytes:
    """The archive without what differs between equal estimators: addresses in memory, dates, and bytes nobody wrote.

    skops numbers parts by their addresses, and says by equal numbers that two are one object. For what cannot change that is
    chance: whether two equal texts or numbers are one object depends on the process. So each of these gets a number of its own;
    all others are numbered in the order in which they appear.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    numbering = _Numbering(parts)
    schema = numbering.of(json.loads(parts.pop("schema.json")))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, content in sorted({**numbering.files, "schema.json": json.dumps(schema).encode()}.items()):
            target.writestr(zipfile.ZipInfo(name, _EPOCH), content, compress_type=zipfile.ZIP_DEFLATED, compresslevel=3)
    return buffer.getvalue()


class _Numbering:
    """Gives the parts of a schema and the files they lie in new numbers."""

    def __init__(self, parts: dict[str, bytes]) -> None:
        self._parts = parts
        self._numbers: dict[Any, int] = {}
        self._next = itertools.count(1)
        self.files: dict[str, bytes] = {}

    def of(self, node: Any) -> Any:
        """A node of the schema with all below it."""
        if isinstance(node, list):
            return [self.of(item) for item in node]
        if not isinstance(node, dict):
            return node
        if node.get("__loader__") == "SetNode":  # a set has no order of its own
            node = {**node, "content": sorted(node["content"], key=_without_numbers)}
        alone, found = _is_value(node), dict[str, Any]()
        for key, item in node.items():
            if key == "__id__":
                found[key] = next(self._next) if alone else self._number(item)
            elif key == "file" and isinstance(item, str):
                found[key] = self._file(item, alone=alone)
            else:
                found[key] = self.of(item)
        return found

    def _number(self, key: Any) -> int:
        held = self._numbers.get(key)
        if held is None:
            held = self._numbers[key] = next(self._next)
        return held

    def _file(self, name: str, *, alone: bool) -> str:
        content, (_, dot, ending) = self._parts[name], name.partition(".")
        number = next(self._next) if alone else self._number(f"file {name}")
        self.files[f"{number}{dot}{ending}"] = _without_gaps(content) if ending == "npy" else content
        return f"{number}{dot}{ending}"


def _is_value(node: Any) -> bool:
    """Whether a part cannot change, so that it makes no difference which of two equal ones it is."""
    if not isinstance(node, dict):
        return False
    loader = node.get("__loader__")
    if loader == "TupleNode":
        return all(_is_value(item) for item in node["content"])
    return loader in _VALUES or (loader == "NdArrayNode" and node["__class__"] not in _ARRAYS)


def _without_numbers(node: Any) -> str:
    """A part as text that does not tell where it lay in memory."""
    if isinstance(node, dict):
        return json.dumps({key: _without_numbers(item) for key, item in node.items() if key not in {"__id__", "file"}})
    return json.dumps([_without_numbers(item) for item in node] if isinstance(node, list) else node)


def _without_gaps(data: bytes) -> bytes:
    """An array's file with zeros between the fields of its records, where whatever was in memory may have been written."""
    import numpy as np  # noqa: PLC0415 - sklearn is loaded here, so numpy is

    if b"'|V" not in data[:_NPY_HEAD]:  # its header names the gaps
        return data
    found = np.load(io.BytesIO(data), allow_pickle=False)
    if found.dtype.names is None:
        return data
    clean = np.zeros(found.shape, found.dtype)
    for name in found.dtype.names:
        clean[name] = found[name]
    target = io.BytesIO()
    np.save(target, clean, allow_pickle=False)
    return target.getvalue()
