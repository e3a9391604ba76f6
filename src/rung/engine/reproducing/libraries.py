"""Which libraries a run is repeated with: those found here when they are proven to be the recorded ones, else built from its lock."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rung.core.errors import RungError
from rung.engine.host import ServiceTransport
from rung.engine.reproducing.changes import of_packages
from rung.pipelines.building import uv_environment
from rung.pipelines.environment import python_version
from rung.pipelines.installed import manifest, manifest_of, parsed
from rung.pipelines.needing import pinned_by, unmet
from rung.pipelines.packaged import FROZEN, without_rung
from rung.pipelines.records import PipelineRun
from rung.pipelines.reproducing import ChangeSince
from rung.storage.scope import Scope

_LOCKS = ("uv.lock", "requirements.lock", "requirements.txt")


@dataclass(frozen=True)
class Choice:
    """A lock to build from, or None for the libraries of this interpreter; what still differs, and why it was chosen."""

    lock: str | None
    python: str
    changes: tuple[ChangeSince, ...] = ()
    notes: tuple[str, ...] = ()


def chosen(transport: ServiceTransport, scope: Scope, run: PipelineRun, folder: Path, needed: frozenset[str], *, rebuild: bool) -> Choice:
    """The libraries of a reproduction. An environment that cannot be built is replaced by what is here, and that is told."""
    text = transport.get_blob(run.lock) if run.lock else b""
    kind = next((name for name in _LOCKS if (folder / name).is_file()), "installed")
    built_then = bool(run.package) and bool(unmet_here(text, kind))  # so it ran in an environment of its own, which was not recorded
    was = transport.get_blob(run.packages) if run.packages and not built_then else b""
    same_minor = run.python.rpartition(".")[0] in {"", minor()}
    found = (*of_packages(was, manifest(), needed), *_of_rung(was, manifest())) if was else ()
    if was and same_minor and not _others(found) and not rebuild:
        proven = f"The libraries here are those recorded: {len(needed)} distributions that the code needs, with equal contents."
        return Choice(lock=None, python=python_version(), changes=found, notes=(proven,))
    if not was and same_minor and not rebuild and not built_then and (kind == "installed" or not unmet_here(text, kind)):
        return Choice(lock=None, python=python_version(), notes=("What was installed was not recorded; the libraries of now were used.",))
    lock = lock_file(text, kind, folder)
    try:
        built = uv_environment(lock, home=scope.home, python=run.python)
    except RungError as error:
        why = f"The libraries could not be built anew, so those of now were used: {error}"
        return Choice(lock=None, python=python_version(), changes=found, notes=(why[:1000],))
    return Choice(
        lock=str(lock), python=built.version, changes=tuple(_of_built(was, manifest_of(built.folder), needed)) if was else (),
        notes=(f"The libraries were built anew from {lock.name} for Python {built.version}.", *built.notes),
    )  # fmt: skip


def lock_file(text: bytes, kind: str, folder: Path) -> Path:
    """The lock in a folder; a list of what was installed becomes requirements, without what no index has."""
    if kind != "installed":
        return folder / kind
    if (folder / FROZEN).is_file():
        return folder / FROZEN
    file = folder / "rung-installed.txt"
    file.write_text(without_rung(text), "utf-8")
    return file


def unmet_here(text: bytes, kind: str) -> list[str]:
    """What of a lock this interpreter does not meet, in words; empty when steps may run in it."""
    return unmet(pinned_by(text, "requirements.txt" if kind == "installed" else kind), parsed(manifest()), missing_too=kind != "uv.lock")


def minor() -> str:
    """Python's minor version here."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _of_built(was: bytes, now: bytes, needed: frozenset[str]) -> list[ChangeSince]:
    """Only what was built can be compared: Rung and what it brings are those of now."""
    held = set(parsed(now))
    return [change for change in of_packages(was, now, needed & held, place=Path("/nonexistent")) if change.subject in held]


def _others(changes: Iterable[ChangeSince]) -> bool:
    """Whether a library changed that could be had again: Rung itself runs the reproduction, so it is that of now."""
    return any(change.subject != "rung" for change in changes)


def _of_rung(was: bytes, now: bytes) -> Iterator[ChangeSince]:
    before, after = parsed(was).get("rung"), parsed(now).get("rung")
    if before and after and before[0] != after[0]:
        yield ChangeSince(
            kind="package", subject="rung", was=before[0], now=after[0], detail="The run was made by another version of Rung."
        )
