"""What is not as it was when a run was made: found before it is repeated, so that a difference has a cause to be told."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rung.core.digests import digest_of_file
from rung.core.errors import NotFound, RungError
from rung.data.records import FileEntry
from rung.data.store import DataStore
from rung.governance.records import Node
from rung.governance.store import GovernanceStore
from rung.pipelines.circumstances import HASHING, LOCALE, THREADS, TIMEZONE, TORCH, found_file, hardware, switches
from rung.pipelines.environment import python_version
from rung.pipelines.installed import edited, manifest, parsed
from rung.pipelines.records import PipelineRun, StepRun
from rung.pipelines.reproducing import ChangeKind, ChangeSince
from rung.storage.blobs import BlobStore
from rung.storage.scope import Scope

# In this order they are told: what most often changes a result comes first.
ORDER: tuple[ChangeKind, ...] = ("data", "package", "lock", "code", "python", "threads", "switches", "hardware", "effects")
_MACHINE = ("machine", "processor", "isa", "gpus", "gpu_driver")
_GONE = "it is gone"


def of_data(scope: Scope, run: PipelineRun, folder: Path) -> Iterator[ChangeSince]:
    """Dataset versions, files and wheels that are not what the run read, and blobs of its data that are damaged."""
    for key, was in sorted(run.inputs.items()):
        kind, _, name = key.partition(" ")
        if kind == "dataset":
            now = scope.read(lambda s, name=name: _dataset_digest(s, name))  # type: ignore[misc]  # mypy and defaults of lambdas
        else:
            file = found_file(folder, name)
            now = "missing" if file is None else digest_of_file(file)[0]
        if now != was:
            told: ChangeKind = "package" if kind == "package" else "data"
            detail = "The run read other bytes under this name." if now != "missing" else _GONE
            yield ChangeSince(kind=told, subject=f"{kind} {name}"[:1000], was=was, now=now, detail=detail)
    for name in sorted(_read_datasets(scope, run)):
        yield from _damaged(scope, name)


def of_artifacts(blobs: BlobStore, steps: Iterable[StepRun]) -> Iterator[ChangeSince]:
    """Results of the original that cannot be read any more."""
    for step in steps:
        for artifact in step.outputs:
            if artifact.inline is None and (problem := _unreadable(blobs, artifact.digest)):
                subject = f"output {artifact.name} of step {step.key}"
                yield ChangeSince(kind="data", subject=subject[:1000], was=artifact.digest, now="damaged", detail=problem[:1000])


def of_packages(was: bytes, now: bytes, needed: Iterable[str], place: Path | None = None) -> Iterator[ChangeSince]:
    """Distributions the code needs that are others than recorded: another version, other bytes, or edited in place."""
    wanted, before, after = set(needed), parsed(was), parsed(now)
    for name in sorted(wanted & (set(before) | set(after))):
        old, new = before.get(name), after.get(name)
        if old is None or new is None or old[0] != new[0]:
            yield ChangeSince(kind="package", subject=name, was=_version(old), now=_version(new), detail="Another version is installed.")
        elif old[1] != new[1]:
            detail = "The version is the same, its files are not: its RECORD has another digest."
            yield ChangeSince(kind="package", subject=name, was=f"{old[0]} {old[1]}", now=f"{new[0]} {new[1]}", detail=detail)
    for name, file in edited(wanted, place):
        version = _version(after.get(name))
        yield ChangeSince(
            kind="package", subject=name, was=version, now=version, detail=f"{file} is not what the package installed."[:1000]
        )


def of_machine(run: PipelineRun, python: str = "") -> Iterator[ChangeSince]:
    """Interpreter, processor, accelerators, threads and switches that are others than recorded."""
    found = python or python_version()
    if run.python and run.python != found:
        kind = "Another minor version" if run.python.rpartition(".")[0] != found.rpartition(".")[0] else "Another patch"
        yield ChangeSince(kind="python", subject="Python", was=run.python, now=found, detail=f"{kind} of the interpreter.")
    here = hardware()
    for name in _MACHINE:
        old, new = run.hardware.get(name), here.get(name)
        if name in run.hardware and old != new:
            yield ChangeSince(
                kind="hardware", subject=name, was=_text(old), now=_text(new), detail="Kernels chosen by it may sum in another order."
            )
    if run.hardware.get("cpus") not in {None, here["cpus"]}:
        yield ChangeSince(
            kind="threads", subject="cores", was=str(run.hardware["cpus"]), now=str(here["cpus"]),
            detail="The number of threads was set to the recorded one where libraries listen to it.",
        )  # fmt: skip
    yield from _of_switches(run)


def in_order(changes: Iterable[ChangeSince]) -> tuple[ChangeSince, ...]:
    """The changes, the likeliest cause of a difference first."""
    return tuple(sorted(dict.fromkeys(changes), key=lambda change: (ORDER.index(change.kind), change.subject)))


def here() -> bytes:
    """The manifest of this interpreter."""
    return manifest()


def _of_switches(run: PipelineRun) -> Iterator[ChangeSince]:
    if not run.switches:
        return
    now = switches(os.environ)
    for name in (TIMEZONE, LOCALE, TORCH):
        if name in run.switches and name in now and run.switches[name] != now[name] and not (name == TIMEZONE and "TZ" in run.switches):
            yield ChangeSince(kind="switches", subject=name, was=run.switches[name], now=now[name])
    for name in sorted(set(now) - set(run.switches)):
        if "." not in name:
            kind: ChangeKind = "threads" if name in THREADS else "switches"
            yield ChangeSince(kind=kind, subject=name, was="not set", now=now[name], detail="It is set here and was not then.")
    if run.switches.get(HASHING) == "random":
        yield ChangeSince(
            kind="switches", subject=HASHING, was="random", now="fixed",
            detail="Sets of texts may have come in an order that cannot be repeated; set PYTHONHASHSEED for runs.",
        )  # fmt: skip


def _read_datasets(scope: Scope, run: PipelineRun) -> set[str]:
    """Dataset versions that lineage knows as inputs of the run."""
    nodes = [Node(kind="pipeline_run", id=run.id), *([Node(kind="run", id=run.run_id)] if run.run_id else [])]
    edges = scope.read(lambda s: GovernanceStore(s.connection).edges_at(s.project, nodes, up=True))
    return {edge.source.id for edge in edges if edge.source.kind == "dataset_version"}


def _damaged(scope: Scope, name: str) -> Iterator[ChangeSince]:
    files = scope.read(lambda s: _dataset_files(s, name))
    for file in files:
        if problem := _unreadable(scope.blobs, file.digest):
            yield ChangeSince(
                kind="data", subject=f"dataset {name}", was=file.digest, now="damaged", detail=f"{file.path}: {problem}"[:1000]
            )


def _dataset_digest(scope: Scope, ref: str) -> str:
    name, _, number = ref.rpartition(":")
    try:
        return DataStore(scope.connection, scope.project).version(name, int(number)).digest
    except NotFound:
        return "missing"


def _dataset_files(scope: Scope, ref: str) -> tuple[FileEntry, ...]:
    name, _, number = ref.rpartition(":")
    try:
        return DataStore(scope.connection, scope.project).version(name, int(number)).files
    except (NotFound, ValueError):
        return ()


def _unreadable(blobs: BlobStore, digest: str) -> str:
    try:
        blobs.get(digest)
    except RungError as error:
        return error.message
    return ""


def _version(held: tuple[str, str] | None) -> str:
    return "not installed" if held is None else held[0]


def _text(value: Any) -> str:
    return (", ".join(map(str, value)) if isinstance(value, list) else str(value or "none"))[:1000]
