"""Tables of the cache: results by key, and what the digests in their keys stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from rung.core.clock import from_micros, to_micros
from rung.core.errors import Invalid, NotFound
from rung.core.records import prepared
from rung.pipelines.caching import CachedResult
from rung.pipelines.records import Artifact
from rung.pipelines.store import CACHE, RUN, STEP, CacheEntry, cache_entry
from rung.storage.plain import Plain
from rung.storage.raw import Raw
from rung.storage.sql import Column, ColumnElement, Connection, Select, String, and_, or_, select
from rung.storage.tables import JsonType, table

DETAIL = table(
    "cache_detail",
    Column("project", String(32), primary_key=True),
    Column("digest", String(80), primary_key=True),
    Column("detail", JsonType, nullable=False),
)
_CACHE, _DETAIL = Plain(CACHE), Plain(DETAIL)
_CHUNK = 500


class CacheStore:
    """Rows of the cache of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def results(self, *, step: str | None, pipeline: str | None, after: str | None, limit: int) -> tuple[list[CachedResult], str | None]:
        """Cached results, newest first, and where the next page begins. Raises Invalid for a place that is none."""
        query = self._results().order_by(CACHE.c.created_at.desc(), CACHE.c.cache_key.desc()).limit(limit)
        for column, value in ((CACHE.c.step, step), (RUN.c.pipeline, pipeline)):
            query = query if value is None else query.where(column == value)
        if after is not None:
            query = query.where(_older(after))
        found = [_result(row) for row in self._connection.execute(query).mappings()]
        place = f"{to_micros(found[-1].created_at)} {found[-1].cache_key}" if len(found) == limit else None
        return found, place

    def result(self, key: str) -> tuple[CachedResult, dict[str, Any]]:
        """A cached result and the parts of its key, by the key or its first digits. Raises NotFound, Invalid."""
        start = key if ":" in key else f"blake3:{key}"
        query = self._results(CACHE.c.parts).where(CACHE.c.cache_key.startswith(start, autoescape=True)).limit(2)
        rows = self._connection.execute(query).mappings().all()
        if not rows:
            raise NotFound(
                f"The cache has nothing under {key!r}.", code="pipelines.not_cached", hint="`rung cache list` shows what it has."
            )
        if len(rows) > 1:
            raise Invalid(f"Several keys begin with {key!r}.", code="pipelines.ambiguous_key", hint="Give more of its digits.")
        return _result(rows[0]), rows[0]["parts"]

    def hits(self, keys: Iterable[str]) -> dict[str, CachedResult]:
        """What the cache holds under these keys."""
        asked = list(keys)
        found: dict[str, CachedResult] = {}
        for start in range(0, len(asked), _CHUNK):
            query = self._results().where(CACHE.c.cache_key.in_(asked[start : start + _CHUNK]))
            found |= {row["cache_key"]: _result(row) for row in self._connection.execute(query).mappings()}
        return found

    def earlier(self, step: str, most: int = 8) -> list[CacheEntry]:
        """The newest entries of a step, to tell what has changed since."""
        newest = f"ORDER BY created_at DESC, cache_key DESC LIMIT {most}"
        return [cache_entry(row) for row in _CACHE.rows(self._connection, "project = ? AND step = ?", (self._project, step), tail=newest)]

    def clear(self, *, step: str | None, pipeline: str | None, before: datetime | None, key: str | None) -> int:
        """Drop results; how many."""
        where: list[ColumnElement[bool]] = [CACHE.c.project == self._project]
        if step is not None:
            where.append(CACHE.c.step.in_([step, f"{step}[]"]))
        if pipeline is not None:
            runs = select(RUN.c.id).where(RUN.c.project == self._project, RUN.c.pipeline == pipeline)
            where.append(CACHE.c.step_run.in_(select(STEP.c.id).where(STEP.c.project == self._project, STEP.c.pipeline_run.in_(runs))))
        if before is not None:
            where.append(CACHE.c.created_at < before)
        if key is not None:
            where.append(CACHE.c.cache_key == key)
        count = self._connection.execute(CACHE.delete().where(*where)).rowcount
        if len(where) == 1:
            self._connection.execute(DETAIL.delete().where(DETAIL.c.project == self._project))
        return int(count)

    def describe(self, details: Mapping[str, Any]) -> None:
        """Enter what digests stand for, of those that are not known yet."""
        rows = [(self._project, digest, msgspec.json.encode(detail, order="sorted").decode()) for digest, detail in details.items()]
        Raw(self._connection).insert_many("cache_detail (project, digest, detail)", rows, "ON CONFLICT (project, digest) DO NOTHING")

    def details(self, digests: Iterable[Any]) -> dict[str, Any]:
        """What digests stand for, of those that are known."""
        asked = sorted({digest for digest in digests if isinstance(digest, str) and digest})
        found: dict[str, Any] = {}
        for start in range(0, len(asked), _CHUNK):
            some = asked[start : start + _CHUNK]
            rows = _DETAIL.rows(self._connection, f"project = ? AND digest IN ({', '.join('?' * len(some))})", (self._project, *some))
            found |= {row["digest"]: row["detail"] for row in rows}
        return found

    def learned(self, most: int = 2000) -> dict[str, tuple[str, ...]]:
        """For each step, what the newest audited run that executed it saw it read undeclared."""
        query = (
            select(STEP.c.step, STEP.c.undeclared)
            .join(RUN, RUN.c.id == STEP.c.pipeline_run)
            .where(RUN.c.project == self._project, RUN.c.audited.is_(True), STEP.c.status == "succeeded")
            .order_by(STEP.c.id.desc())
            .limit(most)
        )
        found: dict[str, tuple[str, ...]] = {}
        for row in self._connection.execute(query):
            found.setdefault(row.step, tuple(row.undeclared))
        return found

    def _results(self, *more: Column[Any]) -> Select[Any]:
        columns = (CACHE.c.cache_key, CACHE.c.step, CACHE.c.created_at, CACHE.c.outputs, CACHE.c.step_run, STEP.c.pipeline_run)
        joined = CACHE.outerjoin(STEP, and_(STEP.c.id == CACHE.c.step_run, STEP.c.project == CACHE.c.project))
        joined = joined.outerjoin(RUN, and_(RUN.c.id == STEP.c.pipeline_run, RUN.c.project == CACHE.c.project))
        return select(*columns, RUN.c.pipeline, RUN.c.number, *more).select_from(joined).where(CACHE.c.project == self._project)


def _older(after: str) -> ColumnElement[bool]:
    at, _, key = after.partition(" ")
    if not at.isdigit() or not key:
        raise Invalid(f"{after!r} is no place in the list.", code="pipelines.bad_cursor", hint="Pass `next` of the page before.")
    instant = from_micros(int(at[:18]))
    return or_(CACHE.c.created_at < instant, and_(CACHE.c.created_at == instant, CACHE.c.cache_key < key))


def _result(row: Any) -> CachedResult:
    outputs = msgspec.convert(row["outputs"], prepared(tuple[Artifact, ...]))
    return CachedResult(
        cache_key=row["cache_key"],
        step=row["step"],
        created_at=row["created_at"],
        outputs=outputs,
        size_bytes=sum(artifact.size_bytes for artifact in outputs),
        step_run=row["step_run"],
        pipeline=row["pipeline"] or "",
        number=row["number"] or 0,
        pipeline_run=row["pipeline_run"],
    )
