"""Handlers that enter versions: files a client sent, or what another tool logged. Both read the files before they are saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from rung.core.errors import Invalid, NotFound, RungError
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.core.requests import handles
from rung.registry import logged as lg
from rung.registry import records as r
from rung.registry.engine_verbs import compiled_version
from rung.registry.manifest import EXAMPLE, MANIFEST, read_manifest
from rung.registry.moving import enter_version, live_version, store_of, turn_at
from rung.registry.notifying import notify
from rung.registry.rules import check_version, completed, folder_digest, merged, version_digest
from rung.registry.sources import Source, check_owner, parsed
from rung.storage.scope import Scope
from rung.tracking.records import Artifact, Run
from rung.tracking.store import ArtifactStore, LoggedStore, RunStore

PROMPT = "mlflow.prompt.is_prompt"
_FROM_PICKLE = "rung.from_pickle"
_NOTHING = r.Signature(inputs=())


@handles(r.RegisterVersion)
def register_version(request: r.RegisterVersion, scope: Scope) -> Callable[[Scope], r.ModelVersion]:
    """The new version. Raises NotFound for files that are not stored, Invalid for a model that does not load."""
    check_version(request, scope.read(lambda inside: store_of(inside).find_model(request.model)))
    wanted = [(file.path, file.digest) for file in request.files]
    wanted += [("input_example", request.input_example)] if request.input_example else []
    lost = [path for path, digest in wanted if not scope.blobs.exists(digest)]
    if lost:
        raise NotFound(f"The bytes of {', '.join(lost)} are not stored.", code="registry.no_blob", hint="Upload them first.")
    fields = ("model", "format", "files", "signature", "task", "label", "classes", "threshold", "datasets", "libraries", "input_example")
    origin = ("run_id", "logged_model", "pipeline_run_id", "lock", "git_commit", "git_dirty", "tags", "description")
    draft = r.ModelVersion(
        id=new_id(), number=1, digest=version_digest(request), size_bytes=sum(file.size_bytes for file in request.files),
        created_at=scope.now, created_by="", **{name: getattr(request, name) for name in (*fields, *origin)},
    )  # fmt: skip
    draft = compiled_version(scope, draft)
    if request.logged_model is not None:
        logged = scope.read(lambda inside: LoggedStore(inside.connection, inside.project).get(request.logged_model or ""))
        draft = replaced(draft, run_id=request.run_id or logged.run)

    def save(inside: Scope) -> r.ModelVersion:
        check_version(request, turn_at(inside, draft.model).find_model(draft.model))  # its first version may have come meanwhile
        return enter_version(inside, draft)

    return save


@dataclass(frozen=True)
class _Found:
    """What a source leads to: a version it copies, or artifacts by their path in the model's folder, and the run behind them."""

    copied: r.ModelVersion | None = None
    files: dict[str, Artifact] = field(default_factory=dict)
    run: Run | None = None
    logged_model: str | None = None


@handles(lg.RegisterLogged)
def register_logged(request: lg.RegisterLogged, scope: Scope) -> Callable[[Scope], r.ModelVersion]:
    """The new version; one that says why it cannot be served when its files cannot be read. Raises NotFound, Invalid."""
    source = source_of(request)
    check_owner(request.source, source, request.run_id, request.logged_model)
    draft = drafted(request, source, scope)

    def save(inside: Scope) -> r.ModelVersion:
        model = turn_at(inside, draft.model).find_model(draft.model)
        return enter_version(inside, draft if model is None else _fitting(draft, model))  # its first version may have come meanwhile

    return save


def _fitting(draft: r.ModelVersion, model: r.Model) -> r.ModelVersion:
    """The draft; where its model holds others, it says that it cannot be served."""
    if draft.task is None or model.task in {None, draft.task}:
        return draft
    return replaced(
        draft, unservable=f"It is a {draft.task} model, and {model.name!r} holds {model.task} ones; register it under another name."
    )


def source_of(request: lg.RegisterLogged) -> Source:
    """What a request's source says; a prompt, which is a text in tags, has none. Raises Invalid."""
    prompt = request.tags.get(PROMPT, "").lower() == "true" and not set("/:\\.") & set(request.source)
    return Source(elsewhere=True) if prompt else parsed(request.source)


def drafted(request: lg.RegisterLogged, source: Source, scope: Scope) -> r.ModelVersion:
    """The version that a source makes, before it has a number. Raises NotFound."""
    model, found = scope.read(lambda inside: (store_of(inside).model(request.model), _looked_up(inside, request, source)))
    draft = _fitting(_copy(found.copied, scope) if found.copied else _read(scope, request, source, found), model)
    run = found.run
    tags = {**request.tags, **{key: value for key, value in draft.tags.items() if key == _FROM_PICKLE}}  # of a copy too
    return replaced(
        draft, model=model.name, source=request.source, run_link=request.run_link, tags=tags, description=request.description,
        run_id=request.run_id or (run.id if run else draft.run_id), logged_model=request.logged_model or found.logged_model or draft.logged_model,
        datasets=run.datasets if run and run.datasets else draft.datasets, lock=run.lock if run else draft.lock,
        git_commit=run.git_commit if run else draft.git_commit, git_dirty=run.context.git_dirty if run else draft.git_dirty,
        pipeline_run_id=run.pipeline_run if run else draft.pipeline_run_id,
    )  # fmt: skip


@handles(lg.GetDownload)
def get_download(request: lg.GetDownload, scope: Scope) -> lg.Download:
    """Where a version's files are. Raises NotFound, Invalid for copies that lead nowhere."""
    version = live_version(scope, request.model, request.number)
    for _ in range(20):
        source = parsed(version.source) if version.source else Source(elsewhere=True)
        if not source.model:
            break
        version = _version_of(scope, source)
    experiment = None
    if source.owner.startswith("m-"):
        experiment = LoggedStore(scope.connection, scope.project).get(source.owner.removeprefix("m-")).experiment_number
    return lg.Download(source=version.source, owner=source.owner, prefix=source.prefix, experiment_number=experiment)


@handles(lg.UpdateVersion)
def update_version(request: lg.UpdateVersion, scope: Scope) -> Callable[[Scope], r.ModelVersion]:
    """The changed version. Raises NotFound; Conflict for what was said already, Invalid for a task it does not load with."""
    draft = completed(scope.read(lambda inside: live_version(inside, request.model, request.number)), request)
    if request.task is not None and draft.format and draft.unservable:
        draft = compiled_version(scope, replaced(draft, unservable=""))
    return lambda inside: _update(inside, request, draft)


def _update(scope: Scope, request: lg.UpdateVersion, draft: r.ModelVersion) -> r.ModelVersion:
    store = turn_at(scope, request.model)
    held = live_version(scope, request.model, request.number)
    again = completed(held, request)
    description = held.description if request.description is None else request.description
    if again != held:
        store.complete_version(replaced(again, unservable=draft.unservable, engine=draft.engine))
        model = store.model(held.model)
        store.change_model(held.model, task=model.task or again.task)
    store.change_version(
        held.model, held.number, description=description, tags=merged(held.tags, request.tags), updated_at=scope.now
    )  # fmt: skip
    for key, value in request.tags.items():
        told = {"name": held.model, "version": str(held.number), "key": key}
        event, more = ("model_version_tag.deleted", {}) if value is None else ("model_version_tag.set", {"value": value})
        notify(scope, event, told | more)
    return store.version(held.model, held.number)


def _looked_up(scope: Scope, request: lg.RegisterLogged, source: Source) -> _Found:
    run = None
    if request.run_id is not None:
        run = RunStore(scope.connection, scope.project).get(request.run_id)
    logged = LoggedStore(scope.connection, scope.project)
    held = logged.get(request.logged_model) if request.logged_model else None
    if run is None and held is not None and held.run:
        run = RunStore(scope.connection, scope.project).get(held.run)
    if source.model:
        return _Found(copied=_version_of(scope, source))
    if not source.owner:
        return _Found(run=run)
    artifacts = ArtifactStore(scope.connection, scope.project)
    files = _below(artifacts.list(source.owner, source.prefix), source.prefix)
    if not files and run is not None and source.owner == run.id:  # a run's model may lie with the logged model it made
        for name in logged.of_run(run.id):
            made = logged.find(name)
            if made is not None and made.deleted_at is None and made.name == source.prefix:
                return _Found(files=_below(artifacts.list(f"m-{name}"), ""), run=run, logged_model=name)
    return _Found(files=files, run=run)


def _version_of(scope: Scope, source: Source) -> r.ModelVersion:
    number = source.number or store_of(scope).alias(source.model, source.alias)
    return live_version(scope, source.model, number)


def _below(artifacts: Iterable[Artifact], prefix: str) -> dict[str, Artifact]:
    return {artifact.path[len(prefix) :].strip("/"): artifact for artifact in artifacts}


def _copy(version: r.ModelVersion, scope: Scope) -> r.ModelVersion:
    """What a copy keeps of the version it was made of: everything it answers with, not its place in the registry."""
    return replaced(version, id=new_id(), number=1, created_at=scope.now, stage="none", aliases=(), deleted_at=None)


def _read(scope: Scope, request: lg.RegisterLogged, source: Source, found: _Found) -> r.ModelVersion:
    """A draft of what lies at the source, told from its files as far as they can be read."""
    from rung.registry.mlmodel import FolderFile, interpret  # noqa: PLC0415 - loads Polars and the model's library

    unservable = "" if found.files else _nothing_there(request.source, source)
    draft = unread(request, scope, {path: file.digest for path, file in found.files.items()}, unservable)
    draft = replaced(draft, size_bytes=sum(file.size_bytes for file in found.files.values()))
    if not found.files:
        return draft
    if MANIFEST in found.files and "MLmodel" not in found.files:
        return _ours(scope, draft, found)
    try:
        folder = {path: FolderFile(digest=file.digest, size_bytes=file.size_bytes) for path, file in found.files.items()}
        told = interpret(folder, scope.blobs.get, _unpickling(scope))
    except (Invalid, NotFound) as error:
        return replaced(draft, unservable=_line(error))
    draft = replaced(
        draft, format=told.format or "", files=told.files, signature=told.signature or _NOTHING, task=told.task, classes=told.classes,
        libraries=told.libraries, flavors=told.flavors, unservable=told.unservable, run_id=None,
        input_example=scope.blobs.put(told.example) if told.example else "",
    )  # fmt: skip
    for data in told.made.values():
        scope.blobs.put(data)
    if told.made:
        draft = replaced(draft, tags={**draft.tags, _FROM_PICKLE: "true"})
    return _servable(scope, replaced(draft, digest=version_digest(draft))) if draft.format else draft


def _servable(scope: Scope, draft: r.ModelVersion) -> r.ModelVersion:
    """A draft with what serves it, where it can be served at all."""
    if draft.unservable or draft.task is None:
        return draft
    try:
        return compiled_version(scope, draft)
    except RungError as error:
        return replaced(draft, unservable=_line(error))


def _ours(scope: Scope, draft: r.ModelVersion, found: _Found) -> r.ModelVersion:
    """What Rung's own log_model kept."""
    try:
        told = read_manifest({path: (file.digest, file.size_bytes) for path, file in found.files.items()}, scope.blobs.get)
        example = found.files.get(EXAMPLE)
        made: r.ModelVersion = replaced(
            draft, format=told.format, files=told.files, signature=told.signature, task=told.task, classes=told.classes, label=told.label,
            libraries=told.libraries, input_example=example.digest if example else "",
        )  # fmt: skip
        check_version(made, None)
        made = compiled_version(scope, made)
    except RungError as error:
        return replaced(draft, unservable=_line(error))
    return replaced(made, digest=version_digest(made))


def _unpickling(scope: Scope) -> Callable[[bytes], tuple[str, dict[str, bytes]]] | None:
    """What opens pickles in a confined process, where the settings allow it."""
    if not scope.settings.registry.allow_pickles:
        return None
    from rung.registry.unpickling import unpickled  # noqa: PLC0415 - see _read

    return partial(unpickled, scratch=scope.home / "scratch")


def unread(request: lg.RegisterLogged, scope: Scope, files: dict[str, str], unservable: str) -> r.ModelVersion:
    """A draft of which only the source is known, and digests of the files that lie there."""
    return r.ModelVersion(
        id=new_id(), model=request.model, number=1, format="", files=(), size_bytes=0, signature=_NOTHING, task=None, label="", classes=(),
        threshold=None, datasets=(), libraries={}, created_at=scope.now, created_by="", source=request.source, run_link=request.run_link,
        tags=request.tags, description=request.description, digest=folder_digest(request.source, list(files.items())), unservable=unservable,
    )  # fmt: skip


def _nothing_there(text: str, source: Source) -> str:
    if source.elsewhere and ":" not in text:
        return "It is a prompt, not a model."
    if source.elsewhere:
        return f"Its files are at {text[:300]}, which is not kept here; log the model to this server."
    return f"No files were found at {text[:300]} when it was registered; log them first, then register again."


def _line(error: RungError) -> str:
    return f"{error.message} {error.hint or ''}".strip()[:1000]
