"""Judging: what becomes of a node that has come up, and whether its results are known already."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rung.core.clock import from_micros
from rung.core.errors import RungError
from rung.engine.driving.keys import Codes, key_of
from rung.engine.driving.mapping import mapped, sort_out
from rung.engine.driving.sources import Source
from rung.engine.driving.states import DONE, Live
from rung.engine.executors.family import value_of
from rung.engine.host import ServiceTransport
from rung.engine.wiring import Outputs, changed, held_by, inside
from rung.pipelines.cache_store import CacheStore
from rung.pipelines.conditions import Clause, Operand, holds, operands_of
from rung.pipelines.explaining import changes, fresh, likest, reason_of
from rung.pipelines.fates import Fate, State, fate
from rung.pipelines.progress_store import ProgressStore
from rung.pipelines.records import Artifact, PipelineRun
from rung.pipelines.rules import why_not_cached
from rung.pipelines.store import CacheEntry
from rung.storage.blobs import BlobStore
from rung.storage.scope import Scope

_HIT = "Cached: same code, parameters, inputs and environment."


@dataclass
class Judge:
    """Judges the nodes of one run."""

    run: PipelineRun
    source: Source
    codes: Codes
    recent: dict[str, CacheEntry]
    anew: set[str]
    live: dict[str, Live]
    transport: ServiceTransport
    blobs: BlobStore
    scratch: Path
    outputs: Outputs
    now: Callable[[], datetime]
    _earlier: dict[str, list[CacheEntry]] = field(default_factory=dict)
    _details: dict[str, Any] = field(default_factory=dict)

    def fate(self, live: Live, *, stopped: bool) -> Fate:
        """Whether a node runs, is skipped or held back; the reason is left in its row. Raises Invalid."""
        looked: dict[int, Any] = {}

        def look(operand: Operand) -> Any:
            looked[id(operand)] = self._value(operand)
            return looked[id(operand)]

        found = fate(live.node, self._state, look, stopped=stopped)
        if found in {"skip", "block"}:
            live.row = changed(live.row, reason=self._why(live, found, looked, stopped=stopped)[:1000])
        return found

    def known(self, comers: Iterable[Live]) -> tuple[list[Live], list[Live]]:
        """Divide nodes that are to run into those whose results are known, their rows filled in, and those that must run.

        One whose key cannot be made is left with its error in ``row.error``, among those that must run.
        """
        hits: list[Live] = []
        must: list[Live] = []
        asked: list[Live] = []
        for live in comers:
            try:
                known = self._without_cache(live)
            except RungError as error:
                live.row = changed(live.row, error=str(error))
                must.append(live)
                continue
            (hits if known else asked if known is None else must).append(live)
        if asked:
            found, missed = self._ask(asked)
            hits += found
            must += missed
        return hits, must

    def open_map(self, live: Live) -> None:
        """Find a map's items and which of them are done. Raises Invalid for what is no collection."""
        found = mapped(live, self.outputs, self.blobs, self.scratch)
        options = live.node.step.options
        asks = options.cache and self.run.use_cache and not self.source.repeats and live.key not in self.anew
        asks = asks and not self.codes.unsure(live.node.step)
        ttl = options.ttl_s

        def look_up(scope: Scope) -> tuple[Any, Any]:
            store = ProgressStore(scope.connection, scope.project)
            finished = store.finished_items(live.row.id) if live.number else {}
            missing = [key for place, key in enumerate(found.keys) if place not in finished or finished[place].cache_key != key]
            return finished, store.cached(missing) if asks else {}

        finished, cached = self.transport.scope().read(look_up)
        known = {key: outputs for key, (outputs, _, at) in cached.items() if fresh(from_micros(at), ttl, self.now())}
        live.mapped = found
        sort_out(found, finished, known)
        done = len(found.outputs)
        live.row = changed(live.row, items=len(found.items), items_done=done, items_cached=found.cached, items_failed=0)

    def _without_cache(self, live: Live) -> bool | None:
        """True when the results are known, False when it must run, None when the cache is to be asked."""
        kept = self.source.kept.get(live.key)
        if kept is not None and not live.node.step.options.cache:
            self._fill(live, kept.id, kept.outputs, "Not repeated: it is run for its side effects.")
            return True
        if live.taken is not None:
            origin, reason = live.taken
            self._fill(live, origin.id, origin.outputs, reason)
            live.row = changed(live.row, cache_key=origin.cache_key, fingerprint=origin.fingerprint, items=origin.items)
            return True
        key = key_of(live, self.codes, self.outputs, self.run.seed)
        if live.row.status in DONE and live.row.cache_key == key:
            return True
        live.row = changed(live.row, cache_key=key, fingerprint=live.parts["code"], status="waiting", outputs=(), cached_from=None)
        refusal = (
            f"Ran: the run was started anew from {', '.join(self.run.rerun_from)}." if live.key in self.anew
            else why_not_cached(
                declared=live.node.step.options.cache, wished=self.run.use_cache and not self.source.repeats,
                unsure=self.codes.unsure(live.node.step),
            )
        )  # fmt: skip
        if refusal:
            live.row = changed(live.row, reason=refusal[:1000], changes=(), compared_with=None)
            return False
        return None

    def _ask(self, asked: list[Live]) -> tuple[list[Live], list[Live]]:
        found = {live.row.cache_key: self.recent[live.row.cache_key] for live in asked if live.row.cache_key in self.recent}
        unknown = [live for live in asked if live.row.cache_key not in found]
        before: dict[str, CacheEntry] = {}
        details: dict[str, Any] = {}
        if unknown:
            more, before, details = self.transport.scope().read(lambda s: self._look_up(s, unknown))
            found |= more
        hits: list[Live] = []
        must: list[Live] = []
        for live in asked:
            entry, ttl_s = found.get(live.row.cache_key), live.node.step.options.ttl_s
            if entry is None:
                self._explain(live, before.get(live.key), details)
                must.append(live)
            elif not fresh(entry.created_at, ttl_s, self.now()):
                live.row = changed(live.row, reason=f"Ran: {reason_of((), old_s=ttl_s)}.", changes=(), compared_with=entry.step_run)
                must.append(live)
            else:
                self._fill(live, entry.step_run, entry.outputs, _HIT)
                hits.append(live)
        return hits, must

    def _explain(self, live: Live, before: CacheEntry | None, details: dict[str, Any]) -> None:
        differing = changes(live.parts, before.parts, details | dict(self.codes.details)) if before else ()
        why = f"Ran: {reason_of(differing, earlier=before is not None)}."[:1000]
        live.row = changed(live.row, reason=why, changes=differing, compared_with=before.step_run if before else None)

    def _look_up(self, scope: Scope, asked: list[Live]) -> tuple[dict[str, CacheEntry], dict[str, CacheEntry], dict[str, Any]]:
        """What the cache has, for what it lacks the likest result of the step, and what the digests in its key stand for.

        Earlier results of a step are looked up once a run, however often it is called.
        """
        held = ProgressStore(scope.connection, scope.project).cached([live.row.cache_key for live in asked])
        found = {
            key: CacheEntry(cache_key=key, step_run=step_run, outputs=outputs, parts={}, created_at=from_micros(at))
            for key, (outputs, step_run, at) in held.items()
        }
        missed = [live for live in asked if live.row.cache_key not in found]
        store = CacheStore(scope.connection, scope.project)
        for step in {live.row.step for live in missed} - self._earlier.keys():
            self._earlier[step] = store.earlier(step)
        before = {live.key: entry for live in missed if (entry := likest(live.parts, self._earlier[live.row.step])) is not None}
        digests = {digest for entry in before.values() for name in ("code", "environment") if (digest := entry.parts.get(name))}
        if unknown := digests - self._details.keys():
            self._details |= dict.fromkeys(unknown) | store.details(unknown)
        return found, before, {digest: detail for digest in digests if (detail := self._details.get(digest)) is not None}

    def _fill(self, live: Live, origin: str, outputs: tuple[Artifact, ...], reason: str) -> None:
        now = self.now()
        items = int(outputs[0].meta.get("count", 0)) if live.node.kind == "map" and outputs else 0
        live.row = changed(
            live.row, status="cached", outputs=outputs, cached_from=origin, started_at=now, ended_at=now, reason=reason, error="",
            items=items, items_done=items, items_cached=items, items_failed=0, changes=(), compared_with=None,
        )  # fmt: skip

    def _state(self, key: str) -> State:
        return self.live[key].state

    def _value(self, operand: Operand) -> Any:
        artifacts, path = held_by(operand, self.outputs)  # type: ignore[arg-type]  # the operands of a plan are handles
        held = tuple(value_of(artifact, self.blobs, self.scratch) for artifact in artifacts)
        return inside(held if len(held) > 1 else held[0], path)

    def _why(self, live: Live, found: Fate, looked: dict[int, Any], *, stopped: bool) -> str:
        states = {key: self._state(key) for key in live.node.needs}
        if found == "block":
            failed = [key for key, state in states.items() if state == "failed"] or [k for k, state in states.items() if state == "blocked"]
            return f"Skipped: step {failed[0]!r} has no result." if failed else "Skipped: the run had stopped." if stopped else "Skipped."
        for clause in reversed(live.node.conditions):  # the last one that was looked at is the one that does not hold
            told = [_short(repr(looked[id(operand)])) for operand in operands_of(clause) if id(operand) in looked]
            if told and not self._holds_again(clause, looked):
                return f"Skipped: {clause} does not hold; found {', '.join(told)}."
        skipped = [key for key, state in states.items() if state == "skipped"]
        if skipped:
            return f"Skipped: step {skipped[0]!r} was skipped."
        on_failure = live.node.step.options.run == "on_failure"
        return "Skipped: nothing before it failed." if on_failure else "Skipped: its condition does not hold."

    @staticmethod
    def _holds_again(clause: Clause, looked: dict[int, Any]) -> bool:
        return all(id(operand) in looked for operand in operands_of(clause)) and holds(clause, lambda operand: looked[id(operand)])


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"  # noqa: PLR2004 - what a reason has room for
