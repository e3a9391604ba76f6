"""``rung.json``: what Rung's own log_model says about the files beside it, and the check that it says so of these files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from rung.core.errors import Invalid
from rung.core.records import Record, prepared
from rung.core.references import Task
from rung.registry.records import Class, Label, ModelFile, Signature

MANIFEST, EXAMPLE = "rung.json", "example.parquet"
_LARGEST = 4 << 20


class Manifest(Record):
    """What ``rung.json`` of a logged model says."""

    format: str
    files: tuple[ModelFile, ...]
    task: Task
    signature: Signature
    classes: tuple[Class, ...] = ()
    label: Label = ""
    libraries: dict[str, str] = {}


def read_manifest(folder: Mapping[str, tuple[str, int]], read: Callable[[str], bytes]) -> Manifest:
    """The manifest of a folder, given by path as digest and size.

    Raises:
        Invalid: it cannot be read, or names files that are not in the folder as it says.
    """
    digest, size = folder[MANIFEST]
    try:
        if size > _LARGEST:
            raise ValueError(f"it has {size} bytes")
        found = msgspec.json.decode(read(digest), type=prepared(Manifest))
    except (ValueError, msgspec.DecodeError) as error:
        raise Invalid(f"{MANIFEST} cannot be read: {error}.", code="registry.bad_manifest", hint="Log the model again.") from None
    strange = [file.path for file in found.files if folder.get(file.path) != (file.digest, file.size_bytes)]
    if strange or not found.files:
        raise Invalid(
            f"{MANIFEST} names files that are not beside it: {', '.join(strange[:5]) or 'none at all'}.", code="registry.bad_manifest",
            hint="Log the model again.",
        )  # fmt: skip
    return found
