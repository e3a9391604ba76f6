"""What is installed here: a manifest of every distribution with the digest of its RECORD, and whether its files still match it.

A version alone does not say what is installed: an index may serve other bytes under it, and files may be edited in place.
The first shows in the RECORD's digest, the second when the files are read against their RECORD.
"""

from __future__ import annotations

import base64
import os
import re
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rung.core.digests import digest_of
from rung.core.files import write_whole

_TOLD = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", "uv_build.json")
_lock = threading.Lock()
_held: dict[tuple[str, ...], tuple[tuple[int, ...], bytes]] = {}  # whichever home asks: what is installed is the same for all


def manifest(memo: Path | None = None) -> bytes:
    """A line ``name==version digest`` for each distribution of this interpreter, sorted.

    Reading every RECORD takes a twentieth of a second, so what was read is kept in memory, and with ``memo`` in a file of
    that folder, until something is installed.
    """
    places = tuple(sorted({sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}))
    marks = tuple(_mark(place) for place in places)
    file = None if memo is None else memo / f"{digest_of(repr((places, marks)).encode())[7:39]}.manifest"
    with _lock:
        held = _held.get(places)
        if held is None or held[0] != marks:
            held = _held[places] = marks, file.read_bytes() if file is not None and file.is_file() else manifest_in(places)
    if file is not None and not file.is_file():
        with suppress(OSError):  # a home that cannot be written to: it is read anew next time
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, held[1])
    return held[1]


def manifest_of(environment: Path) -> bytes:
    """The same of a virtual environment's folder."""
    return manifest_in(tuple(str(place) for place in sorted((environment / "lib").glob("python*/site-packages"))))


def manifest_in(places: tuple[str, ...]) -> bytes:
    """The same of some ``site-packages``; empty when they hold no distribution."""
    lines = set()
    for place in places:
        for entry in os.scandir(place) if Path(place).is_dir() else ():
            if entry.name.endswith(".dist-info"):
                name, _, version = entry.name.removesuffix(".dist-info").partition("-")
                lines.add(f"{name.lower().replace('_', '-')}=={version} {_record_digest(Path(entry.path))}")
    return "\n".join(sorted(lines)).encode()


def parsed(text: bytes) -> dict[str, tuple[str, str]]:
    """Version and digest of each distribution of a manifest, by name."""
    found = {}
    for line in text.decode().splitlines():
        pinned, _, digest = line.partition(" ")
        name, _, version = pinned.partition("==")
        found[name] = (version, digest)
    return found


def edited(names: Iterable[str], place: Path | None = None) -> Iterator[tuple[str, str]]:
    """Distributions whose files are not those of their RECORD, with the first such file; those without hashes are left out.

    Only files whose inode changed after the RECORD was written are read: the kernel sets that time, no program can.
    """
    root = place or Path(sysconfig.get_paths()["purelib"])
    wanted = set(names)
    for folder in sorted(root.glob("*.dist-info")):
        name = folder.name.partition("-")[0].lower().replace("_", "-")
        if name in wanted and (strange := _first_edited(folder)):
            yield name, strange


def named_files(lock: Path) -> list[Path]:
    """Wheels and archives on this machine that a lock names, by path or ``file:`` address."""
    try:
        text = lock.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in text.splitlines():
        if "http" in line and "file:" not in line:
            continue  # most lines of a uv.lock, which has thousands
        for word in re.findall(r"[^\s\"'=,\[\]{}]+\.(?:whl|tar\.gz|zip)", line.partition(" #")[0]):
            if word.startswith(("http:", "https:")):
                continue
            path = Path(unquote(urlsplit(word).path)) if word.startswith("file:") else lock.parent / word
            if word.startswith("file:") or "/" in word or path.exists():
                found.append(path)
    return list(dict.fromkeys(found))


def _first_edited(folder: Path) -> str:
    try:
        import csv  # noqa: PLC0415 - for what looks edited alone

        rows = list(csv.reader((folder / "RECORD").read_text("utf-8").splitlines()))
        written = (folder / "RECORD").stat().st_ctime_ns
    except OSError:
        return ""
    for path, told, *_ in (row for row in rows if len(row) > 1 and row[1] and not row[0].endswith(".pyc") and not row[0].startswith("../")):
        algorithm, _, expected = told.partition("=")
        file = folder.parent / path
        try:
            if file.stat().st_ctime_ns <= written:
                continue
            import hashlib  # noqa: PLC0415 - as above; it loads OpenSSL

            found = hashlib.new(algorithm, file.read_bytes()).digest()
        except (OSError, ValueError):
            return f"{path} is missing"
        if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != expected:
            return path
    return ""


def _record_digest(folder: Path) -> str:
    """Digest of the RECORD without what an installer adds: the same wheel gives the same one wherever it was installed."""
    try:
        lines = (folder / "RECORD").read_text("utf-8").splitlines()
    except OSError:
        return ""
    left_out = ("../", *(f"{folder.name}/{told}" for told in _TOLD))
    kept = [line for line in lines if "__pycache__/" not in line and not line.startswith(left_out)]
    return digest_of("\n".join(sorted(kept)).encode())[7:39]


def _mark(place: str) -> int:
    return Path(place).stat().st_mtime_ns if Path(place).is_dir() else 0
