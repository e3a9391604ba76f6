"""Telling sinks what was answered, from the durable log: in order, again until taken, and never in an answer's way.

How far a sink has read is kept per segment in the database, after each batch that was taken; a segment is not removed before
its sinks have read it. A batch that was taken but not noted is told again, with the same ids.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from rung.core.digests import digest_of
from rung.core.errors import Invalid, RungError, Unavailable
from rung.core.records import replaced
from rung.pipelines.secrets import secret_value
from rung.serving.log_parts import LogPart, log_parts
from rung.serving.log_records import SinkState
from rung.serving.log_store import LogStore
from rung.serving.packing import MATRIX, NOTHING
from rung.serving.predictions import within
from rung.serving.records import Deployment
from rung.serving.sinks.cloudevents import events_of
from rung.serving.sinks.family import Event, Sink, Spec, TooLarge, setting, shown, sink_of
from rung.serving.store import ServingStore
from rung.serving.unpacking import Contents, Piece
from rung.serving.walking import Cursor, sound_end
from rung.storage.scope import Scope

BATCH = 200
MOST_BATCHES = 50
_LONGEST_S = 300.0
_SINKS: dict[tuple[str, str], tuple[Spec, Sink]] = {}
_LOCK = threading.Lock()


@dataclass
class _Read:
    """Bytes of a deployment's answers in one segment, up to an offset."""

    part: LogPart
    end: int
    rows: int
    pieces: list[Piece]


def address_key(address: str) -> str:
    """What stands for an address among the read positions."""
    return digest_of(address.encode())[-32:]


def with_sinks(scope: Scope) -> list[Deployment]:
    """Deployments that have a sink."""
    held = within(scope, lambda connection: ServingStore(connection, scope.project).all())
    return [deployment for deployment in held if deployment.options.logging.sink]


def tell(scope: Scope, deployment: Deployment) -> int:
    """Tell a deployment's sink what is new, up to ``MOST_BATCHES`` batches; how many predictions it took.

    A sink that does not take them is left alone for ever longer, up to five minutes; why stands in its state.
    """
    options = deployment.options.logging
    key = address_key(options.sink)
    states = within(scope, lambda connection: LogStore(connection, scope.project).sinks())
    state = next((one for one in states if one.deployment == deployment.name and one.key == key), None)
    if state is None:
        positions = {part.stem: end for part in log_parts(scope) if (end := _end(part))}
        _keep(scope, SinkState(deployment=deployment.name, key=key, address=shown(options.sink), positions=positions, changed_at=scope.now))
        return 0
    if (
        state.failures
        and state.changed_at
        and scope.now < state.changed_at + timedelta(seconds=min(_LONGEST_S, 2.0 ** min(state.failures, 9)))
    ):
        return 0
    took = 0
    try:
        settings = options.sink_settings
        spec = Spec(
            address=options.sink, settings=settings, allow_private=scope.settings.webhooks.allow_private,
            timeout_s=scope.settings.webhooks.timeout_s,
            secret=secret_value(str(settings["secret"]), scope.settings) if settings.get("secret") else "",
        )  # fmt: skip
        sink = _sink(scope.project, deployment.name, spec)
        types = setting(spec, "types", "rung", ("rung", "kserve"))
        batch = _batch(spec)
        for held in _news(log_parts(scope), deployment.name, state.positions, batch):
            events = [event for row in _rows(held, deployment.name) for event in events_of(row, deployment.name, scope.project, types)]
            _send(sink, events)
            took += held.rows
            state = replaced(
                state, positions={**state.positions, held.part.stem: held.end}, sent=state.sent + held.rows, failures=0, error="",
                changed_at=scope.now,
            )  # fmt: skip
            _keep(scope, state)
        there = {part.stem for part in log_parts(scope)}
        gone = [stem for stem in state.positions if stem not in there]
        if gone or state.failures:
            kept = {stem: end for stem, end in state.positions.items() if stem not in gone}
            _keep(scope, replaced(state, positions=kept, failures=0, error="", changed_at=scope.now))
    except RungError as error:
        _keep(scope, replaced(state, failures=state.failures + 1, error=error.message[:2000], changed_at=scope.now))
    return took


def states(scope: Scope) -> tuple[SinkState, ...]:
    """Every sink with how many bytes of the log wait for it."""
    named = {(held.name, address_key(held.options.logging.sink)) for held in with_sinks(scope)}
    ends = {part.stem: _end(part) for part in log_parts(scope)}
    found = within(scope, lambda connection: LogStore(connection, scope.project).sinks())
    return tuple(
        replaced(state, waiting_bytes=sum(max(0, end - state.positions.get(stem, 0)) for stem, end in ends.items()))
        for state in found
        if (state.deployment, state.key) in named
    )


def _news(parts: list[LogPart], deployment: str, positions: dict[str, int], batch: int) -> Iterator[_Read]:
    """Batches of a deployment's answers that were not told, oldest segment first; frames of others are passed over."""
    batches = 0
    for part in parts:
        start = positions.get(part.stem, 0)
        cursor = _cursor(part, start)
        if cursor is None:
            continue
        try:
            held = _Read(part, start, 0, [])
            for end, body in cursor.entries():
                if end <= start:
                    continue
                source = cursor.sources[int.from_bytes(body[6:8], "little")]
                held.end = end
                if source.deployment == deployment and body[4] != NOTHING:
                    held.pieces.append(Piece(source, body[4], cursor.callers, [body]))
                    held.rows += int.from_bytes(body[8:12], "little")
                if held.rows >= batch:
                    yield held
                    held, batches = _Read(part, end, 0, []), batches + 1
                    if batches >= MOST_BATCHES:
                        return
            if held.end > start:
                yield held
        finally:
            cursor.close()


def _cursor(part: LogPart, start: int) -> Cursor | None:
    """Reads a part; None of one with nothing behind ``start``, and of one that is gone: compaction removes what no sink waits for."""
    for path in dict.fromkeys((part.path, part.sealed_path)):
        with suppress(FileNotFoundError):
            return None if part.sealed and start >= path.stat().st_size else Cursor(path)
    return None


def _rows(held: _Read, deployment: str) -> list[dict[str, object]]:
    if not held.pieces:
        return []
    groups: dict[object, Piece] = {}
    for piece in held.pieces:
        body = piece.bodies[0]
        shape = body[4:20] if piece.kind == MATRIX and (body[14] | body[15]) else (piece.kind, body[6:8])
        groups.setdefault(shape, Piece(piece.source, piece.kind, piece.names)).bodies.extend(piece.bodies)
    frame = Contents(held.end, whole=True, pieces=list(groups.values())).frame(deployment, details=True)
    return [] if frame is None else frame.sort("answered_at", maintain_order=True).to_dicts()


def _send(sink: Sink, events: list[Event]) -> None:
    """Tell events; in halves when the receiver wants fewer at once."""
    if not events:
        return
    try:
        sink.send(events)
    except TooLarge:
        if len(events) == 1:
            raise Unavailable(
                "One prediction is too large for its sink.", code="serving.sink_unavailable", hint="Let it take more."
            ) from None
        middle = len(events) // 2
        _send(sink, events[:middle])
        _send(sink, events[middle:])


def _sink(project: str, deployment: str, spec: Spec) -> Sink:
    """The sink of a deployment in this process, made anew when its address or settings changed."""
    with _LOCK:
        held = _SINKS.get((project, deployment))
        if held is None or held[0] != spec:
            if held is not None:
                held[1].close()
            held = _SINKS[(project, deployment)] = (spec, sink_of(spec))
        return held[1]


def _batch(spec: Spec) -> int:
    value = spec.settings.get("batch", BATCH)
    if not isinstance(value, int) or not 1 <= value <= 10_000:  # noqa: PLR2004 - what one request may hold
        raise Invalid(f"Sink setting batch is {value!r}.", code="serving.bad_sink", hint="Use a number from 1 to 10000.")
    return value


def _keep(scope: Scope, state: SinkState) -> None:
    scope.write(lambda inside: LogStore(inside.connection, inside.project).set_sink(state.key, state))


def _end(part: LogPart) -> int:
    for path in dict.fromkeys((part.path, part.sealed_path)):
        try:
            return path.stat().st_size if path == part.sealed_path else sound_end(path)
        except FileNotFoundError:
            continue
    return 0
