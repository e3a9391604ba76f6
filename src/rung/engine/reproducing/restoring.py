"""Bringing a run's code back into a folder, and settling what it runs with: libraries, switches, network."""

from __future__ import annotations

import os
import shutil
import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from rung.core.ids import new_id
from rung.core.settings import Settings
from rung.engine.host import ServiceTransport
from rung.engine.reproducing import changes as since
from rung.engine.reproducing import libraries, network
from rung.pipelines.circumstances import found_file, variables
from rung.pipelines.needing import needed_by
from rung.pipelines.package_store import PackageStore
from rung.pipelines.packaged import restore_package
from rung.pipelines.packaging import PackageContent
from rung.pipelines.project import restore
from rung.pipelines.records import PipelineRun, StepRun
from rung.pipelines.reproducing import ChangeSince, Network
from rung.pipelines.store import PipelineStore
from rung.storage.queue import Job
from rung.storage.scope import Scope

_COUNTED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class Restored:
    """Code in a folder, and how its steps are to run. ``repeats`` says whether a run is repeated, or a package run.

    ``kept`` are steps whose results are taken over; ``modules`` are those that define the pipelines.
    """

    folder: Path
    code: str
    repeats: bool
    kept: dict[str, StepRun] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    environment: str | None = None
    executor: str = "pool"
    modules: tuple[str, ...] = ()
    original: PipelineRun | None = None
    steps: tuple[StepRun, ...] = ()
    changes: tuple[ChangeSince, ...] = ()
    notes: tuple[str, ...] = ()
    tolerance: float = 0.0
    closed: Network = "open"
    rebuilt: bool = False

    def discard(self) -> None:
        """Forget the restored code of a reproduction; that of a package is kept for its next run."""
        if self.repeats:
            shutil.rmtree(self.folder, ignore_errors=True)


def restored_for(transport: ServiceTransport, run: PipelineRun, job: Job) -> Restored | None:
    """What a reproduction's or a package's run is made from; None for a run of the project's folder.

    Raises NotFound, Unavailable when the code cannot be read any more.
    """
    scope = transport.scope()
    if run.reproduces is not None:
        return _reproduction(transport, scope, run, job)
    return _package(transport, scope, run.package) if run.package else None


def _package(transport: ServiceTransport, scope: Scope, digest: str) -> Restored:
    content = scope.read(lambda s: PackageStore(s.connection, s.project).content(digest))
    folder = (scope.home / "packages" / digest.partition(":")[2][:32]).resolve()
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.{new_id()}")
        part.mkdir(parents=True)
        restore_package(content, transport.get_blob, part)
        try:
            part.rename(folder)
        except OSError:
            shutil.rmtree(part)  # another worker was first, with the same bytes
    return Restored(
        folder=folder, code=digest, repeats=False, modules=content.modules,
        environment=_lock_of_package(transport, scope, content, folder),
    )  # fmt: skip


def _lock_of_package(transport: ServiceTransport, scope: Scope, content: PackageContent, folder: Path) -> str | None:
    """The lock to build an environment from; None where what is installed here is what the lock asks for."""
    text = transport.get_blob(content.lock)
    if content.python == libraries.minor() and not libraries.unmet_here(text, content.lock_kind):
        return None
    return str(libraries.lock_file(text, content.lock_kind, folder))


def _reproduction(transport: ServiceTransport, scope: Scope, wish: PipelineRun, job: Job) -> Restored:
    def load(inside: Scope) -> tuple[PipelineRun, tuple[StepRun, ...]]:
        store = PipelineStore(inside.connection, inside.project)
        run = store.run(str(wish.reproduces))
        return run, store.steps(run.id)

    run, steps = scope.read(load)
    # of this claim alone: a worker that has lost its claim discards its own, not what the next one works with
    folder = (scope.home / "reproduce" / f"{job.subject}.{job.fence}").resolve()
    for left in folder.parent.glob(f"{job.subject}.*"):
        if int(left.suffix[1:]) <= job.fence:  # by a worker that died, or has lost its claim
            shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(parents=True)
    modules = _restore_code(transport, scope, run, folder)
    _link_inputs(run, folder, Path(scope.settings.folder or ".").resolve())
    repeated = set(job.payload.get("repeat", ()))
    everything = bool(job.payload.get("with_effects", False))
    cached = {spec.key: spec.options.cache for spec in run.steps}
    kept = {s.key: s for s in steps if not cached.get(s.key, True) and not everything and s.key not in repeated}
    closed, environ = _closed(scope.settings, wished=not job.payload.get("network", False))
    needed = _needed(folder)
    choice = libraries.chosen(transport, scope, run, folder, needed, rebuild=bool(job.payload.get("rebuild", False)))
    found = [
        *since.of_data(scope, run, Path(scope.settings.folder or ".").resolve()), *since.of_artifacts(scope.blobs, kept.values()),
        *choice.changes, *since.of_machine(run, choice.python),
    ]  # fmt: skip
    return Restored(
        folder=folder, code=run.code, repeats=True, kept=kept, environ={**_threads(run), **variables(run.switches), **environ},
        environment=choice.lock, modules=modules, original=run, steps=steps, changes=since.in_order(found), notes=choice.notes,
        tolerance=float(job.payload.get("tolerance", 0.0)), closed=closed, rebuilt=choice.lock is not None,
    )  # fmt: skip


def _restore_code(transport: ServiceTransport, scope: Scope, run: PipelineRun, folder: Path) -> tuple[str, ...]:
    if run.package:
        content = scope.read(lambda s: PackageStore(s.connection, s.project).content(run.package))
        restore_package(content, transport.get_blob, folder)
        return content.modules
    restore(run.code, transport.get_blob, folder)
    try:
        told = tomllib.loads((folder / "rung.toml").read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return ()
    return tuple(str(name) for name in told.get("pipelines", ()))


def _link_inputs(run: PipelineRun, folder: Path, project: Path) -> None:
    """Make files that the run read by a relative name findable from the restored folder; what they hold is checked apart."""
    for key in run.inputs:
        kind, _, name = key.partition(" ")
        target = folder / name
        if kind == "file" and not Path(name).is_absolute() and target.resolve().is_relative_to(folder) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if file := found_file(project, name):
                target.symlink_to(file.resolve())


def _needed(folder: Path) -> frozenset[str]:
    return frozenset(needed_by(file.read_text("utf-8", "replace") for file in sorted(folder.rglob("*.py")) if not file.is_symlink()))


def _threads(run: PipelineRun) -> dict[str, str]:
    """On a machine with another number of cores, the threads that libraries started then, for sums depend on how they are split."""
    cores = run.hardware.get("cpus")
    return dict.fromkeys(_COUNTED, str(cores)) if cores not in {None, len(os.sched_getaffinity(0))} else {}


def _closed(settings: Settings, *, wished: bool) -> tuple[Network, dict[str, str]]:
    """How the network of the steps is closed, and the variable that says so; a remote database stays within reach."""
    if not wished:
        return "open", {}
    allow = _database_address(settings.storage.database)
    how: Network = "kernel" if not allow and _can_unshare() else "guard"
    return how, {network.VARIABLE: network.wished(allow=allow)}


def _database_address(url: str) -> tuple[str, ...]:
    parts = urlsplit(url)
    if not parts.scheme.startswith("postgres") or not parts.hostname:
        return ()
    return (f"{parts.hostname}:{parts.port or 5432}",)


@lru_cache(maxsize=1)
def _can_unshare() -> bool:
    return network.can_unshare()
