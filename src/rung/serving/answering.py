"""Answering: check the rows, choose an arm for each, score, log, and only then give the scores back. It knows no protocol.

``ask`` never waits: it answers at once where scoring is cheap, else a future. ``answer`` waits for that future.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid, RungError, Unavailable
from rung.core.ids import new_id
from rung.serving.batcher import Waiting
from rung.serving.inference import Answered, Asked, Batches, Floats, Rows
from rung.serving.live import LiveDeployment, LiveRoute
from rung.serving.log import Entry
from rung.serving.scoring import failed
from rung.serving.shadowing import SHADOWS

if TYPE_CHECKING:
    from rung.serving.graph.running import Graph

LOG = logging.getLogger("rung.serving")
_ID_WIDTH = 200
_EMPTY = np.empty(0, dtype=np.float64)


def answer(live: LiveDeployment, asked: Asked, caller: str = "", *, token: str = "") -> Answered:
    """Score and log a request, waiting for it.

    Args:
        live: the deployment.
        asked: what is wanted; its rows have the signature's columns.
        caller: who asks, for the log. token: whose daily rows are counted; empty: nobody's.

    Raises:
        Invalid: the rows do not fit the signature, or there are none, or too many.
        Unavailable: the model failed, too many requests wait, or the log cannot be written; nothing is answered unlogged.
    """
    found = ask(live, asked, caller, token=token)
    if isinstance(found, Answered):
        return found
    try:
        return found.result(live.bounds.timeout_s or None)
    except FutureTimeoutError:
        found.cancel()
        raise too_slow(live) from None


def ask(live: LiveDeployment, asked: Asked, caller: str = "", *, token: str = "") -> Answered | Future[Answered]:
    """The answer, or a future of it where a model has to be waited for. Raises as ``answer`` does."""
    now_us = time.time_ns() // 1000
    ids = checked(live, asked)
    if not live.limiter.none:
        live.limiter.spend(token or caller, len(ids))
    if live.plain and not asked.explain:
        return _at_once(live, asked, ids, now_us, caller)
    request = _Request(live, asked, ids, now_us, caller, asked.times_us if asked.times_us is not None else _now(len(ids), now_us))
    parts = _parts(request)
    if asked.explain or (live.graph is not None and not _immediate(live, live.graph, parts)):
        return _later(request, parts)
    if live.graph is not None or all(part.route.scoring.inline for part in parts):
        for part in parts:
            _score(request, part)
        return _finished(request, parts)
    return _Gathering(request, parts).future


def too_slow(live: LiveDeployment) -> Unavailable:
    """The error for an answer that took longer than it may."""
    return Unavailable(
        f"{live.name!r} did not answer within {live.bounds.timeout_s:g} s.", code="serving.timeout", hint="Send fewer rows, or try again."
    )


def settle() -> None:
    """Wait for the shadows submitted so far."""
    SHADOWS.settle()


@dataclass(slots=True)
class _Request:
    live: LiveDeployment
    asked: Asked
    ids: list[str]
    now_us: int
    caller: str
    times_us: NDArray[np.int64]


@dataclass(slots=True)
class _Part:
    """Rows of a request that one arm answers; ``places`` None means all of them."""

    route: LiveRoute
    arm: str
    rows: Rows
    places: NDArray[np.intp] | None = None
    scores: Floats = field(default_factory=lambda: _EMPTY)
    elapsed_us: int = 0
    compute_us: float = 0.0
    waited: Waiting | None = None  # how a batcher scored it
    flags: list[tuple[str, ...]] | None = None
    columns: dict[str, list[object]] | None = None
    logged: Rows | None = None
    explanations: list[dict[str, float]] | None = None


def checked(live: LiveDeployment, asked: Asked) -> list[str]:
    """The prediction ids, after rows, ids and times were found in order. Raises Invalid."""
    rows = asked.rows
    n = rows.height
    if not 0 < n <= live.bounds.max_rows:
        raise Invalid(
            f"A request holds 1 to {live.bounds.max_rows} rows, not {n}.", code="serving.bad_size", hint="Send batches of a thousand or so."
        )
    if rows.matrix is not None:
        live.check(rows.matrix)
    if asked.times_us is not None and asked.times_us.shape != (n,):
        raise Invalid(
            f"There are {asked.times_us.size} event times for {n} rows.", code="serving.bad_times", hint="Send one for each row, or none."
        )
    ids = asked.ids
    if ids is None:
        return [new_id()] if n == 1 else _fresh(n)
    if len(ids) != n or len(set(ids)) != n or not all(0 < len(key) <= _ID_WIDTH for key in ids):
        raise Invalid(
            "Prediction ids must be as many as rows, different, and 1 to 200 characters.",
            code="serving.bad_ids",
            hint="Leave them out to get fresh ones.",
        )
    return ids


def _at_once(live: LiveDeployment, asked: Asked, ids: list[str], now_us: int, caller: str) -> Answered:
    """The shortest way: one version, scored here."""
    begun = time.perf_counter_ns()
    try:
        scores = live.stable.scoring.now(asked.rows)
    except Exception as error:
        raise failure(live, live.stable, "stable", len(ids), now_us, error) from None
    elapsed = time.perf_counter_ns() - begun
    return alone(live, asked, ids, now_us, caller, scores, elapsed / 1000, elapsed / 1000)


def alone(
    live: LiveDeployment, asked: Asked, ids: list[str], now_us: int, caller: str, scores: Floats, elapsed_us: float, compute_us: float
) -> Answered:
    """What the one version of a deployment answers, after it was logged."""
    route, rows = live.stable, asked.rows
    live.log.append(
        Entry(
            deployment=live.name, model=route.route.model, number=route.route.number, revision=live.revision, arm="stable",
            answered_us=now_us, elapsed_us=int(elapsed_us), ids=ids,
            times_us=_now(len(ids), now_us) if asked.times_us is None else asked.times_us, scores=scores, matrix=rows.matrix,
            frame=rows.frame, names=route.names, dtypes=route.dtypes, caller=caller, outputs=route.outputs,
            request_id=asked.request_id or "", trace_id=asked.trace_id, keeping=live.keeping,
        )
    )  # fmt: skip
    return Answered(scores=scores, ids=ids, version=route.version, deployment=live.name, revision=live.revision, compute_us=compute_us)


def _parts(request: _Request) -> list[_Part]:
    live, rows = request.live, request.asked.rows
    if live.router is None:
        return [_Part(live.stable, "stable", _given(live, live.stable, rows))]
    chosen = live.router.choose(request.ids, _entities(live, request.asked), request.now_us)
    if isinstance(chosen, str):
        route = live.by_arm.get(chosen, live.stable)
        return [_Part(route, chosen, _given(live, route, rows))]
    arms = np.array(chosen, dtype=object)
    parts = []
    for arm in dict.fromkeys(chosen):
        places = np.flatnonzero(arms == arm)
        route = live.by_arm.get(arm, live.stable)
        parts.append(_Part(route, arm, _given(live, route, _taken(rows, places)), places))
    return parts


def _given(live: LiveDeployment, route: LiveRoute, rows: Rows) -> Rows:
    """What a part is given: rows with its version's columns, or as the graph takes them."""
    return rows if live.graph is not None else route.fitted(rows)


def _entities(live: LiveDeployment, asked: Asked) -> Sequence[str] | None:
    """What keeps rows with their arm: what the codec found, else the sticky column or parameter."""
    name = live.options.routing.sticky
    if asked.entities is not None or not name:
        return asked.entities
    if asked.rows.matrix is not None and name in live.stable.names:
        return [f"{value:g}" for value in asked.rows.matrix[:, live.stable.names.index(name)].tolist()]
    if asked.rows.frame is not None and name in asked.rows.frame.columns:
        return [str(value) for value in asked.rows.frame[name].to_list()]
    if name in asked.parameters:
        return [str(asked.parameters[name])] * asked.rows.height
    return None


def _taken(rows: Rows, places: NDArray[np.intp]) -> Rows:
    if rows.matrix is not None:
        return Rows(matrix=rows.matrix[places])
    assert rows.frame is not None  # noqa: S101 - one of the two is set
    return Rows(frame=rows.frame[places])


def _score(request: _Request, part: _Part) -> None:
    """Fill a part's scores, in this thread. Raises what the model's failure becomes, after it was logged."""
    begun = time.perf_counter_ns()
    try:
        if request.live.graph is None:
            part.scores = part.route.scoring.now(part.rows)
            _explain(request, part)
        else:
            _through(request, part, request.live.graph)
    except Exception as error:
        raise failure(request.live, part.route, part.arm, part.rows.height, request.now_us, error) from None
    elapsed = time.perf_counter_ns() - begun
    part.elapsed_us, part.compute_us = elapsed // 1000, elapsed / 1000


def _explain(request: _Request, part: _Part) -> None:
    """Fill a part's explanations, where somebody asked for them."""
    explainers, route = request.live.explainers, part.route
    if request.asked.explain and part.arm != "shadow" and explainers is not None:
        fields = route.version.signature.inputs
        part.explanations = explainers.of(route.version, fields, route.scoring.now, route.predictor).explain(part.rows)


def _through(request: _Request, part: _Part, graph: Graph) -> None:
    """Fill a part's scores, flags and columns by the deployment's graph."""
    live, asked, places = request.live, request.asked, part.places

    def score(model: str, rows: Rows) -> Floats:
        scoring, rows = (live.models[model], rows) if model else (part.route.scoring, part.route.fitted(rows))
        return scoring.now(rows) if scoring.inline else scoring.later(rows).result(live.bounds.timeout_s or None)

    if places is not None:
        chosen = places.tolist()
        asked = msgspec.structs.replace(
            asked, rows=part.rows, ids=[request.ids[place] for place in chosen], times_us=request.times_us[places],
            entities=None if asked.entities is None else [asked.entities[place] for place in chosen],
        )  # fmt: skip
    elif asked.ids is None or asked.times_us is None:
        asked = msgspec.structs.replace(asked, ids=request.ids, times_us=request.times_us)
    found = graph.answer(part.rows, asked, score, counting=part.arm != "shadow")
    part.scores, part.flags, part.columns = found.scores, found.flags, found.columns
    part.logged = graph.logged(part.rows, found.used)
    if asked.explain and part.arm != "shadow" and live.explainers is not None:

        def quietly(rows: Rows) -> Floats:
            return graph.answer(rows, Asked(rows=rows), score, counting=False).scores

        part.explanations = live.explainers.of(part.route.version, graph.fields, quietly, None).explain(part.rows)


def _immediate(live: LiveDeployment, graph: Graph, parts: list[_Part]) -> bool:
    """Whether a graph's answer waits for nothing."""
    return not graph.blocking and all(scoring.inline for scoring in (*(part.route.scoring for part in parts), *live.models.values()))


def _later(request: _Request, parts: list[_Part]) -> Future[Answered]:
    """The answer from the deployment's own threads. Raises Unavailable when too many requests wait for them."""
    live = request.live
    waiting = live.pool._work_queue.qsize()  # noqa: SLF001 - the only place that knows how many wait
    if live.bounds.queue and waiting >= live.bounds.queue:
        raise Unavailable(f"{waiting} requests wait for {live.name!r}.", code="serving.busy", hint="Send it again in a moment.")

    since = time.perf_counter_ns()

    def work() -> Answered:
        queue_us = (time.perf_counter_ns() - since) / 1000
        for part in parts:
            _score(request, part)
        return _finished(request, parts, queue_us)

    return live.pool.submit(work)


def _finished(request: _Request, parts: list[_Part], queue_us: float = 0.0, compute_us: float | None = None) -> Answered:
    """Log every part, then the answer in the order of the rows; shadows are asked afterwards.

    Args:
        queue_us: how long it waited. compute_us: how long models scored it; None: all parts one after the other.
    """
    live, ids, n = request.live, request.ids, len(request.ids)
    live.log.append(*(_entry(request, part) for part in parts))
    first = parts[0]
    versions: NDArray[np.int64] | None = None
    arms: list[str] | None = None
    scores = first.scores
    if first.places is not None:
        scores = np.empty((n, *first.scores.shape[1:]), dtype=np.float64)
        versions, taken = np.empty(n, dtype=np.int64), np.empty(n, dtype=object)
        for part in parts:
            scores[part.places], versions[part.places], taken[part.places] = part.scores, part.route.version.number, part.arm
        arms = taken.tolist()
    elif first.arm != "stable":
        versions, arms = np.full(n, first.route.version.number, dtype=np.int64), [first.arm] * n
    for shadow in live.shadows:
        SHADOWS.submit(live, lambda shadow=shadow: _shadow(request, shadow))  # type: ignore[misc]  # the loop's value, bound now
    others = {part.arm: part.route.version for part in parts if part.route is not live.stable}
    return Answered(
        scores=scores, ids=ids, version=live.stable.version, deployment=live.name,
        revision=live.revision, versions=versions, arms=arms, flags=_in_order(parts, n), arm_versions=others or None,
        columns=_columns(parts, n), explanations=_explanations(parts, n), queue_us=queue_us,
        compute_us=sum([part.compute_us for part in parts]) if compute_us is None else compute_us, batches=_batches(parts),
    )  # fmt: skip


def _batches(parts: list[_Part]) -> Batches | None:
    """What was scored, where that was not the request alone and at once."""
    if len(parts) == 1 and parts[0].waited is None:
        return None
    found = ((part, part.waited) for part in parts)
    return tuple(
        [
            (part.rows.height, 1.0, part.compute_us) if waited is None else (waited.rows, waited.share, part.compute_us)
            for part, waited in found
        ]
    )


def _in_order(parts: list[_Part], n: int) -> list[tuple[str, ...]] | None:
    if all(part.flags is None for part in parts):
        return None
    flags: list[tuple[str, ...]] = [()] * n
    for part in parts:
        for place, one in zip(range(n) if part.places is None else part.places.tolist(), part.flags or (), strict=False):
            flags[place] = one
    return flags


def _explanations(parts: list[_Part], n: int) -> list[dict[str, float]] | None:
    if parts[0].places is None or parts[0].explanations is None:
        return parts[0].explanations
    found: list[dict[str, float]] = [{}] * n
    for part in parts:
        for place, one in zip(() if part.places is None else part.places.tolist(), part.explanations or (), strict=False):
            found[place] = one
    return found


def _columns(parts: list[_Part], n: int) -> dict[str, list[object]] | None:
    """What a graph answers beside the scores, in the order of the rows; null in rows of an arm that answered none."""
    if parts[0].places is None:
        return parts[0].columns
    columns: dict[str, list[object]] = {}
    for part in parts:
        for name, values in (part.columns or {}).items():
            held = columns.setdefault(name, [None] * n)
            for place, value in zip(() if part.places is None else part.places.tolist(), values, strict=True):
                held[place] = value
    return columns or None


def _entry(request: _Request, part: _Part) -> Entry:
    live, route, places = request.live, part.route, part.places
    ids = request.ids if places is None else [request.ids[place] for place in places]
    rows = part.rows if part.logged is None else part.logged
    return Entry(
        deployment=live.name, model=route.route.model, number=route.route.number, revision=live.revision, arm=part.arm,
        answered_us=request.now_us, elapsed_us=part.elapsed_us, ids=ids,
        times_us=request.times_us if places is None else request.times_us[places], scores=part.scores, matrix=rows.matrix,
        frame=rows.frame, names=live.names if live.graph else route.names, dtypes=live.dtypes if live.graph else route.dtypes,
        flags=part.flags, caller=request.caller, outputs=route.outputs, request_id=request.asked.request_id or "", trace_id=request.asked.trace_id, keeping=live.keeping,
    )  # fmt: skip


def failure(live: LiveDeployment, route: LiveRoute, arm: str, rows: int, now_us: int, error: BaseException) -> RungError:
    """What a model's failure becomes for the caller; logged as errors of its arm."""
    told = failed(route.predictor, error)
    if told is not error:
        LOG.error("%s of deployment %s", told.message, live.name, exc_info=error)
    live.log.append(
        Entry(
            deployment=live.name, model=route.route.model, number=route.route.number, revision=live.revision, arm=arm,
            answered_us=now_us, elapsed_us=0, ids=[], errors=rows,
        )
    )  # fmt: skip
    return told


def _shadow(request: _Request, route: LiveRoute) -> None:
    part = _Part(route, "shadow", _given(request.live, route, request.asked.rows))
    _score(request, part)
    request.live.log.append(_entry(request, part))


class _Gathering:
    """Waits for the parts of a request without a thread of its own: whoever brings the last one finishes the answer."""

    def __init__(self, request: _Request, parts: list[_Part]) -> None:
        self.future: Future[Answered] = Future()
        self._request, self._parts = request, parts
        self._left, self._lock = len(parts), threading.Lock()
        for part in parts:
            self._begin(part)

    def _begin(self, part: _Part) -> None:
        begun = time.perf_counter_ns()
        if part.route.scoring.inline:
            self._tried(lambda: _score(self._request, part))
            self._came()
            return
        asked = self._request.asked
        waiting = part.route.scoring.later(part.rows, asked.outputs)

        def came(done: Future[Floats]) -> None:
            part.elapsed_us, part.compute_us, part.waited = (time.perf_counter_ns() - begun) // 1000, waiting.compute_us, waiting
            self._tried(lambda: self._take(part, done))
            self._came()

        waiting.add_done_callback(came)

    def _take(self, part: _Part, done: Future[Floats]) -> None:
        request = self._request
        try:
            part.scores = done.result()
        except Exception as error:
            raise failure(request.live, part.route, part.arm, part.rows.height, request.now_us, error) from None

    def _tried(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            with self._lock:
                if not self.future.done():
                    self.future.set_exception(error)

    def _came(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0 and not self.future.done()
        if last and self.future.set_running_or_notify_cancel():
            try:
                slowest = max(self._parts, key=lambda part: part.elapsed_us)  # they were scored side by side
                queue_us = 0.0 if slowest.waited is None else slowest.waited.queue_us
                found = _finished(self._request, self._parts, queue_us, slowest.compute_us)
            except Exception as error:
                self.future.set_exception(error)
            else:
                self.future.set_result(found)


def _now(n: int, now_us: int) -> NDArray[np.int64]:
    return np.array((now_us,)) if n == 1 else np.full(n, now_us, dtype=np.int64)


def _fresh(n: int) -> list[str]:
    base = new_id()[:26]
    return [base + end for end in islice(_ends(1 << (n - 1).bit_length()), n)]


@lru_cache(maxsize=13)
def _ends(n: int) -> tuple[str, ...]:
    """Last digits of the ids of one request."""
    return tuple(f"{place:06x}" for place in range(n))
