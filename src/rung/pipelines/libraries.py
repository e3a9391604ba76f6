"""Which installed libraries stand behind the names that code imports, and what these require in turn.

Reading the metadata of an environment takes a tenth of a second, so it is read once and kept in a file that is named
after the folders of libraries and the times they were changed.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import sysconfig
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

from rung.core.digests import digest_of
from rung.core.files import write_whole
from rung.core.records import prepared

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
# Extras that a library's own developers need: what they bring does not change what the library does.
_FOR_DEVELOPERS = re.compile(r"(^|[-_])(all|test|tests|testing|dev|develop|doc|docs|lint|typing|mypy|build|bench|benchmark|benchmarks|release|style|check|cover|maintenance|examples)($|[-_])")  # fmt: skip
_lock = threading.Lock()
_held: dict[str, LibraryIndex] = {}


class Requirement(msgspec.Struct, frozen=True):
    """One required library: by which of its extras, and only with which extra of the library that requires it."""

    name: str
    extras: tuple[str, ...] = ()
    only_with: str = ""


class Library(msgspec.Struct, frozen=True):
    """One installed library; ``source`` is the commit or address of one that is not from an index."""

    name: str
    version: str
    requires: tuple[Requirement, ...] = ()
    source: str = ""


class LibraryIndex(msgspec.Struct):
    """The libraries of an environment by name, and which of them bring a name that is imported."""

    libraries: dict[str, Library]
    owners: dict[str, tuple[str, ...]]

    def closure(self, imported: Iterable[str]) -> dict[str, str]:
        """Versions of the libraries behind imported names and of all that these require, by library.

        An optional requirement counts for a library that is imported itself if it is installed, unless its extra is one
        for developers; of libraries further down only if their dependent asks for the extra. A name that belongs to no
        library stands for itself, without a version.
        """
        found: dict[str, str] = {}
        waiting: list[tuple[str, frozenset[str], bool]] = []
        for root in imported:
            owners = self.owners.get(root, ())
            waiting += [(owner, frozenset(), True) for owner in owners]
            if not owners:
                found[root] = ""
        done: set[tuple[str, frozenset[str], bool]] = set()
        while waiting:
            step = waiting.pop()
            if step in done:
                continue
            done.add(step)
            name, extras, direct = step
            library = self.libraries[name]
            found[name] = f"{library.version} {library.source}".rstrip()
            for needed in library.requires:
                wanted = not needed.only_with or needed.only_with in extras or (direct and not _FOR_DEVELOPERS.search(needed.only_with))
                if wanted and needed.name in self.libraries:
                    waiting.append((needed.name, frozenset(needed.extras), False))
        return dict(sorted(found.items()))


def library_index(cache: Path | None) -> LibraryIndex:
    """The index of this interpreter's libraries: from memory, from the file in ``cache``, or read anew."""
    folders = _folders()
    marks = [(str(folder), folder.stat().st_mtime_ns) for folder in folders]
    name = digest_of(repr((marks, sys.version_info[:2])).encode())[7:39]
    file = cache / f"libraries-{name}.msgpack" if cache else None
    with _lock:
        if name not in _held:
            _held.clear()
            _held[name] = _kept(file) or read_index(folders)
        index = _held[name]
    if file is not None and not file.is_file():
        _keep(index, file)
    return index


def normalised(name: str) -> str:
    """A library's name as indexes compare it.

    >>> normalised("Ruamel.YAML_clib")
    'ruamel-yaml-clib'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _folders() -> list[Path]:
    """Folders of installed libraries, in the order in which imports look there."""
    paths = sysconfig.get_paths()
    places = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))] + [paths["purelib"], paths["platlib"]]
    return [folder for place in dict.fromkeys(places) if (folder := Path(place)).is_dir()]


def _kept(file: Path | None) -> LibraryIndex | None:
    try:
        return msgspec.msgpack.decode(file.read_bytes(), type=prepared(LibraryIndex)) if file else None
    except (OSError, msgspec.MsgspecError):
        return None


def _keep(index: LibraryIndex, file: Path) -> None:
    with contextlib.suppress(OSError):  # a home that cannot be written to: the index is read anew next time
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, msgspec.msgpack.encode(index))
        old = sorted(file.parent.glob("libraries-*.msgpack"), key=os.path.getmtime)
        for other in old[:-8]:
            other.unlink(missing_ok=True)


def read_index(folders: Iterable[Path]) -> LibraryIndex:
    """The index of what is installed in these folders; of two of one name the first counts."""
    libraries: dict[str, Library] = {}
    owners: dict[str, set[str]] = {}
    for folder in folders:
        for place in sorted(folder.glob("*.dist-info")):
            library = _library(place)
            if library is None or library.name in libraries:
                continue
            libraries[library.name] = library
            for root in _roots(place):
                owners.setdefault(root, set()).add(library.name)
    return LibraryIndex(libraries, {root: tuple(sorted(names)) for root, names in sorted(owners.items())})


def _library(place: Path) -> Library | None:
    name = version = ""
    requires: list[Requirement] = []
    try:
        with (place / "METADATA").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line in {"\n", "\r\n"}:
                    break
                key, _, value = line.partition(":")
                if key == "Name":
                    name = normalised(value.strip())
                elif key == "Version":
                    version = value.strip()
                elif key == "Requires-Dist" and (needed := _requirement(value)):
                    requires.append(needed)
    except OSError:
        return None
    return Library(name, version, tuple(requires), _source(place)) if name else None


def _requirement(text: str) -> Requirement | None:
    found = _REQUIREMENT.match(text)
    if found is None:
        return None
    extra = _EXTRA.search(text.partition(";")[2])
    extras = tuple(normalised(item.strip()) for item in (found[2] or "").split(",") if item.strip())
    return Requirement(normalised(found[1]), extras, normalised(extra[1]) if extra else "")


def _source(place: Path) -> str:
    """Where a library was taken from that has no index's word for its version."""
    file = place / "direct_url.json"
    try:
        told = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return ""
    if not isinstance(told, dict) or told.get("dir_info", {}).get("editable"):
        return ""
    return str(told.get("vcs_info", {}).get("commit_id") or told.get("archive_info", {}).get("hash") or told.get("url", ""))


def _roots(place: Path) -> set[str]:
    """Top-level names that a library brings."""
    try:
        lines = (place / "RECORD").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    found: set[str] = set()
    for line in lines:
        head, slash, rest = line.lstrip('"').partition("/")
        if slash:
            if head not in found and head.isidentifier():  # most lines are of a folder that is known already
                path = rest.partition(",")[0].rstrip('"')
                if path.endswith((".py", ".pyd")) or ".so" in path:
                    found.add(head)
            continue
        path = head.partition(",")[0].rstrip('"')
        if path.endswith((".py", ".so", ".pyd")):
            found.add(path.partition(".")[0])
    try:
        found |= set((place / "top_level.txt").read_text("utf-8").split())
    except OSError:
        return found
    return found
