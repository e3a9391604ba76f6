"""Where a run's code comes from: the project's folder, an object of this process, or a snapshot that was restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import msgspec

from rung.core.settings import Settings
from rung.engine.host import Host
from rung.engine.wiring import changed
from rung.pipelines.authoring import Pipeline
from rung.pipelines.describing import typed_params
from rung.pipelines.project import Project, find_target, isolated_modules, load_project, restore, snapshot
from rung.pipelines.records import PipelineRun, StepRun
from rung.pipelines.tracing import Plan, trace

_BUILT_IN = {"batch-scoring": "rung.client.batch:batch_scoring"}


class Restored(Protocol):
    """Code that was brought back into a folder, to repeat a run or to run a package."""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        ...

    @property
    def code(self) -> str:
        """The digest of its tree, which stands for the code of every step."""
        ...

    @property
    def kept(self) -> dict[str, StepRun]:
        """Steps that are not repeated, by key."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether it repeats a run, so that the cache is neither asked nor fed."""
        ...

    @property
    def executor(self) -> str:
        """Where its steps run."""
        ...

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables of its steps."""
        ...

    @property
    def environment(self) -> str | None:
        """The lock of the environment its steps run in."""
        ...


class Source(msgspec.Struct):
    """A run's plan and the folder, project and rules it was made with."""

    plan: Plan
    folder: Path
    project: Project | None
    code: str = ""
    executor: str = ""
    environ: dict[str, str] = msgspec.field(default_factory=dict)
    environment: str | None = None
    kept: dict[str, StepRun] = msgspec.field(default_factory=dict)
    repeats: bool = False
    notes: tuple[str, ...] = ()
    _marks: tuple[tuple[int, int], ...] = ()

    def has_changed(self) -> bool:
        """Whether a file of the project is another one than when the run began."""
        return self.project is not None and _marks(self.project) != self._marks


def source_of(host: Host, run: PipelineRun, offered: dict[str, Pipeline[..., Any]], restored: Restored | None, scratch: Path) -> Source:
    """The plan of a run, traced from its code. Raises Invalid, NotFound.

    A run that another worker has begun goes on with the code it began with, even when the project has changed since;
    one that somebody resumed goes on with the code of now, and says so.
    """
    if restored is not None:
        modules = getattr(restored, "modules", ()) or host.settings.pipelines
        with isolated_modules(restored.folder):
            source = _traced(run, None, changed(host.settings, folder=str(restored.folder), pipelines=modules))
        source.code, source.executor, source.environ = restored.code, restored.executor, restored.environ
        source.kept, source.repeats, source.environment = restored.kept, restored.repeats, restored.environment
        return source
    source = _traced(run, offered.get(run.pipeline) or _ours(run.pipeline), host.settings)
    if not run.code or source.project is None:
        return source
    now = snapshot(source.project, host.blobs.put)
    if now == run.code:
        return source
    if run.status == "running":
        folder = scratch / "begun-with"
        restore(run.code, host.blobs.get, folder)
        with isolated_modules(folder):
            begun = _traced(run, None, changed(host.settings, folder=str(folder)))
        begun.executor = "process"
        begun.notes = (f"Went on with the code it began with, {run.code}, though the project has changed.",)
        return begun
    source.notes = (f"Resumed with the code of now, {now}; it began with {run.code}.",)
    return source


def _ours(name: str) -> Pipeline[..., Any] | None:
    """A pipeline that comes with Rung itself; it lies above the engine, so it is found by its address."""
    return find_target(_BUILT_IN[name]) if name in _BUILT_IN else None


def _traced(run: PipelineRun, pipeline: Pipeline[..., Any] | None, settings: Settings) -> Source:
    project = None
    if pipeline is None or Path(settings.folder or ".", "rung.toml").is_file():
        loaded = load_project(settings)
        pipeline = pipeline or loaded.pipeline(run.pipeline)
        inside = loaded.folder in Path(pipeline.function.__code__.co_filename).resolve().parents
        project = loaded if inside else None
    plan = trace(pipeline, typed_params(pipeline, run.params))
    folder = project.folder if project else Path(settings.folder or ".").resolve()
    return Source(plan=plan, folder=folder, project=project, _marks=_marks(project) if project else ())


def _marks(project: Project) -> tuple[tuple[int, int], ...]:
    found = []
    for file in project.files:
        try:
            stat = file.stat()
        except OSError:
            found.append((0, 0))
        else:
            found.append((stat.st_mtime_ns, stat.st_size))
    return tuple(found)
