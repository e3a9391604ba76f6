"""The interpreter for a version's own libraries: its lock, built by uv once and kept in the home."""

from __future__ import annotations

import tomllib
from pathlib import Path

from rung.core.errors import Conflict, Invalid
from rung.core.files import write_whole
from rung.registry.loading import Readable
from rung.registry.records import ModelVersion


def locked_python(blobs: Readable, version: ModelVersion, home: Path) -> str:
    """The path of an interpreter that has the libraries of the version's lock; building it may take minutes the first time.

    Raises:
        Conflict: the version knows no lock. NotFound: the lock is gone. Invalid: it cannot be read, or a package is not what it says.
        Unavailable: uv is missing or fails.
    """
    from rung.pipelines.building import uv_environment  # noqa: PLC0415 - rarely needed

    if not version.lock:
        raise Conflict(
            f"{version.model}:{version.number} knows no lock.", code="serving.no_lock",
            hint="Train it in a run of a project with a lock, or deploy it without runtime.locked.",
        )  # fmt: skip
    folder = home / "isolated" / "locks" / version.lock.partition(":")[2]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = folder / "requirements.txt"
    # every worker writes it, and another one may be building by it
    write_whole(place, requirements(blobs.get(version.lock).decode("utf-8", "replace")).encode())
    return str(uv_environment(place, home=home).python)


def requirements(lock: str) -> str:
    """A lock as requirements: those of a ``uv.lock`` pinned by name, others as they are; without Rung, which comes with the process.

    Raises:
        Invalid: it begins like a ``uv.lock`` and is none.
    """
    if "[[package]]" in lock:
        try:
            packages = tomllib.loads(lock)["package"]
        except (tomllib.TOMLDecodeError, KeyError) as error:
            raise Invalid(f"The lock cannot be read: {error}.", code="serving.bad_lock", hint="Lock anew, and register again.") from None
        # those without a registry are the project itself and local folders, which no other machine has
        lines = [f"{one['name']}=={one['version']}" for one in packages if "registry" in one.get("source", {})]
    else:
        lines = lock.splitlines()
    return "".join(f"{line}\n" for line in lines if not line.lower().startswith(("rung==", "rung @", "-e ")))
