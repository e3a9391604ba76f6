"""Copies registered models: versions under their numbers, aliases, stages, tags."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Literal
from urllib.parse import unquote, urlsplit

from rung.client.importing import translating as t
from rung.client.importing.source import Source, SourceModel, SourceVersion
from rung.client.transports import Transport
from rung.core.errors import RungError, Unavailable
from rung.registry.imports import ImportAlias, ImportModel, ImportVersion

_RUN, _LOGGED = re.compile(r"[0-9a-f]{32}"), re.compile(r"m-[0-9a-f]{32}")
_STAGES: dict[str, Literal["none", "staging", "production", "archived"]] = {
    "None": "none", "Staging": "staging", "Production": "production", "Archived": "archived",
}  # fmt: skip
_STATUSES: dict[str, Literal["ready", "pending", "failed"]] = {
    "READY": "ready", "PENDING_REGISTRATION": "pending", "FAILED_REGISTRATION": "failed",
}  # fmt: skip


class ModelCopier:
    """Copies the registry of a source; refusals are told to ``differs``, what is changed on the way to ``note``."""

    def __init__(self, source: Source, transport: Transport, note: t.Note, differs: Callable[[str], None]) -> None:
        self._source, self._transport, self._note, self._differs = source, transport, note, differs
        self._found: Counter[str] = Counter()
        self._here: Counter[str] = Counter()

    def copy(self) -> tuple[Counter[str], Counter[str]]:
        """How many models, versions and aliases there are there, and here now."""
        for kind in ("registered_models", "versions", "aliases"):
            self._found[kind] = self._here[kind] = 0
        models = list(self._source.models())
        entered = []
        for model in models:
            self._found["registered_models"] += 1
            if self._entered("registered_models", f"model {model.name!r}", partial(self._model, model)):
                entered.append(model)
            else:
                self._found.update(versions=len(model.versions), aliases=len(model.aliases))
        # Copies (models:/name/2) may name any model, so versions come when all models are there, copies after their originals.
        pairs = [(model, version) for model in entered for version in model.versions]
        for model, version in sorted(pairs, key=lambda pair: (_is_copy(pair[1].source), pair[0].name, pair[1].number)):
            self._found["versions"] += 1
            self._entered("versions", f"{model.name}:{version.number}", partial(self._version, model, version))
        for model in entered:
            for alias, number in model.aliases.items():
                self._found["aliases"] += 1
                self._entered("aliases", f"alias {model.name}@{alias}", partial(self._alias, model, alias, number))
        return self._found, self._here

    def _model(self, model: SourceModel) -> None:
        created = t.instant(model.created_ms)
        self._transport.call(
            ImportModel(
                model=model.name, description=model.description[:100_000], tags=t.texts(model.tags, self._note, f"model {model.name!r}"),
                created_at=created, updated_at=t.instant(model.updated_ms) if model.updated_ms else created, created_by=t.line(model.user)[:128],
            )
        )  # fmt: skip

    def _version(self, model: SourceModel, version: SourceVersion) -> None:
        created = t.instant(version.created_ms)
        source, run = address(version)
        logged = version.logged_model or (source.removeprefix("models:/") if source.startswith("models:/m-") else "")
        self._transport.call(
            ImportVersion(
                model=model.name, number=version.number, source=source, run_id=run, stage=_STAGES.get(version.stage, "none"),
                logged_model=logged[2:] if _LOGGED.fullmatch(logged) else None, run_link=t.line(version.run_link),
                status=_STATUSES.get(version.status, "ready"), tags=t.texts(version.tags, self._note, f"{model.name}:{version.number}"),
                description=version.description[:100_000], created_at=created, created_by=t.line(version.user)[:128],
                updated_at=t.instant(version.updated_ms) if version.updated_ms else created,
            )
        )  # fmt: skip

    def _alias(self, model: SourceModel, alias: str, number: int) -> None:
        self._transport.call(ImportAlias(model=model.name, alias=alias, number=number))

    def _entered(self, kind: str, whose: str, enter: Callable[[], None]) -> bool:
        try:
            enter()
        except RungError as error:
            if isinstance(error, Unavailable):
                raise
            self._differs(f"{whose}: {error.message}")
            return False
        self._here[kind] += 1
        return True


def address(version: SourceVersion) -> tuple[str, str | None]:
    """Where a version's files are here, and the run it came from: paths inside of a run's or a logged model's artifacts name them."""
    run = version.run if _RUN.fullmatch(version.run) else None
    if version.source.startswith(("models:/", "runs:/")):
        return version.source, run
    parts = urlsplit(version.source)
    path = [part for part in (unquote(parts.path) if parts.scheme else version.source).split("/") if part]
    for place, part in enumerate(path):
        inside = path[place + 2 :]
        if place + 1 < len(path) and path[place + 1] == "artifacts":
            if _LOGGED.fullmatch(part):
                return "/".join(["models:", part, *inside]), run
            if _RUN.fullmatch(part):
                return "/".join(["runs:", part, *inside]), run or part
    return version.source[:1000] or "unknown:/", run


def _is_copy(source: str) -> bool:
    return source.startswith("models:/") and not source.startswith("models:/m-")
