"""Handlers about what serves a version, and compiling when one is registered."""

from __future__ import annotations

from collections.abc import Callable

from rung.core.errors import NotFound
from rung.core.records import replaced
from rung.core.requests import handles
from rung.registry import records as r
from rung.registry.engine_records import CompileVersion, EngineChanged, GetEngine
from rung.registry.loading import files_of
from rung.registry.moving import live_version, store_of
from rung.registry.rules import check_servable
from rung.storage.outbox import emit
from rung.storage.scope import Scope


@handles(GetEngine)
def get_engine(request: GetEngine, scope: Scope) -> r.ServingEngine:
    """What serves a version; natively, with the reason, where it was never compiled. Raises NotFound."""
    version = live_version(scope, request.model, request.number)
    return version.engine or r.ServingEngine(engine="native", reason=version.unservable or "It was not compiled yet.")


@handles(CompileVersion)
def compile_version(request: CompileVersion, scope: Scope) -> Callable[[Scope], r.ServingEngine]:
    """What serves the version from now on. Raises NotFound for a version or an engine; Conflict for one that cannot be served."""
    version = scope.read(lambda inside: live_version(inside, request.model, request.number))
    engine = compiled_version(scope, version, engine=request.engine).engine or r.ServingEngine(engine="native")

    def save(inside: Scope) -> r.ServingEngine:
        held = live_version(inside, request.model, request.number)
        store_of(inside).change_version(request.model, request.number, engine=engine, updated_at=inside.now)
        if held.engine is None or (held.engine.engine, held.engine.artifact) != (engine.engine, engine.artifact):
            emit(inside, EngineChanged(model=held.model, number=held.number, at=inside.now, said=_said(engine)))
        return engine

    return save


def _said(engine: r.ServingEngine) -> str:
    if engine.engine == "native":
        return f"the model's own library. {engine.reason}"[:1000]
    return f"the engine {engine.engine}; largest difference {engine.largest_difference:.2g} over {engine.rows} rows"


def compiled_version(scope: Scope, version: r.ModelVersion, *, engine: str = "") -> r.ModelVersion:
    """The version with what serves it; it is loaded natively for that, so one that does not load is refused here.

    Raises:
        NotFound: a file, or the engine. Conflict, Invalid: it cannot be loaded.
    """
    from rung.registry.compiling import compiled, keep  # noqa: PLC0415 - loads Polars and the model's library
    from rung.registry.format import FORMATS  # noqa: PLC0415 - see above
    from rung.registry.own_code import REASON, brings_code, check_allowed  # noqa: PLC0415 - see above

    check_servable(version)
    if brings_code(FORMATS.get(version.format)):
        check_allowed(version.format, allowed=scope.settings.registry.allow_code)
        return replaced(version, engine=r.ServingEngine(engine="native", reason=REASON, compiled_at=scope.now))
    found = compiled(version, files_of(scope.blobs, version), _example(scope, version), scope.now, engine=engine)
    changed: r.ModelVersion = replaced(version, engine=keep(scope.blobs, found))
    return changed


def _example(scope: Scope, version: r.ModelVersion) -> bytes | None:
    if not version.input_example:
        return None
    try:
        return scope.blobs.get(version.input_example)
    except NotFound:
        return None
