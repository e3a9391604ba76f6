"""Records: msgspec structs and dataclasses as JSON, with the name of their class; the class must be importable."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from rung.core.errors import Invalid
from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Payload
from rung.pipelines.materialisers.json import compare_plain


@MATERIALISERS.member("record")
class StructValue:
    """A msgspec struct or a dataclass, of types that msgspec can write and read."""

    rank = 80

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is an instance of a struct or dataclass."""
        return isinstance(value, msgspec.Struct) or (dataclasses.is_dataclass(value) and not isinstance(value, type))

    @staticmethod
    def dump(value: Any) -> Payload:
        """JSON in field order with the class's name; refused when it would not come back equal."""
        kind = type(value)
        data = msgspec.json.encode(value, order="sorted")
        if "<locals>" in kind.__qualname__:
            raise Invalid(
                f"{kind.__qualname__} is defined inside a function.",
                code="pipelines.unserialisable",
                hint="Define the class at the top level of a module.",
            )
        if msgspec.json.decode(data, type=kind) != value:
            raise Invalid(
                f"{kind.__qualname__} does not come back equal from JSON.",
                code="pipelines.unserialisable",
                hint="Annotate its fields with concrete types.",
            )
        return Payload(data, {"type": f"{kind.__module__}:{kind.__qualname__}"})

    @staticmethod
    def load(payload: Payload, scratch: Path) -> Any:
        """An instance of the class named. Raises Invalid when it is gone or is no record."""
        module, _, path = str(payload.meta["type"]).partition(":")
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, type) or not (issubclass(found, msgspec.Struct) or dataclasses.is_dataclass(found)):
            raise Invalid(f"{payload.meta['type']} is no record.", code="pipelines.unloadable", hint="Run the step anew with --no-cache.")
        data = payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
        return msgspec.json.decode(data, type=found)

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Field by field."""
        return compare_plain(msgspec.to_builtins(original), msgspec.to_builtins(repeated), tolerance)
