"""When each step of a run waited and ran, as rows of the Gantt chart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

from rung.pipelines.records import PipelineRunDetail, StepAttempt, StepRun
from rung.ui.charts.svg import Figure
from rung.ui.charts.time import Bar, Span, gantt
from rung.ui.pages.graphs import tone
from rung.ui.words import TONE, address

MOST = 120


def timings(detail: PipelineRunDetail) -> Figure | None:
    """The chart of a run's steps in the order they began; None before any has. Of very many, those that took longest."""
    run = detail.run
    began = [step for step in detail.steps if step.started_at is not None]
    if not began:
        return None
    zero = min(step.started_at for step in began if step.started_at)
    zero = min(zero, run.started_at) if run.started_at else zero
    now = run.ended_at or datetime.now(UTC)
    ends = {step.key: step.ended_at for step in detail.steps}
    needs = {spec.key: spec.needs for spec in run.steps}
    tries: dict[str, list[StepAttempt]] = defaultdict(list)
    for attempt in detail.attempts:
        tries[attempt.step_run].append(attempt)
    chosen = sorted(began, key=lambda step: -step.wall_s)[:MOST] if len(began) > MOST else began
    bars = []
    for step in sorted(chosen, key=lambda step: (step.started_at or zero, step.position)):
        ready = max((end for need in needs.get(step.key, ()) if (end := ends.get(need))), default=zero)
        bars.append(_bar(step, tries[step.id], zero, ready, now, address("pipeline-runs", run.id, "steps", step.key)))
    left = len(began) - len(chosen)
    note = f"The {MOST} steps that took longest; {left:,} shorter ones are left out." if left else ""
    return gantt("When each step waited and ran", bars, note)


def waited(step: StepRun, needs: Sequence[str], ends: dict[str, datetime | None], start: datetime | None) -> float | None:
    """Seconds between the end of the last step it needs and its beginning; None before that."""
    if step.started_at is None:
        return None
    ready = max((end for need in needs if (end := ends.get(need))), default=start)
    return max((step.started_at - ready).total_seconds(), 0.0) if ready else None


def _bar(step: StepRun, tries: Sequence[StepAttempt], zero: datetime, ready: datetime, now: datetime, href: str) -> Bar:
    def at(instant: datetime) -> float:
        return max((instant - zero).total_seconds(), 0.0)

    start = step.started_at or zero
    end = step.ended_at or (now if step.status == "running" else start)
    spans = tuple(
        Span(at(one.started_at), at(one.ended_at or now), one.status, TONE.get(one.status, "muted"))
        for one in tries
        if one.started_at >= start
    )
    since = at(ready) if ready < start else None
    return Bar(
        step.key, at(start), max(at(end), at(start)), step.status, tone(step.status), since, spans if len(spans) > 1 else (), href,
        "batches" if step.items else "tries",
    )  # fmt: skip
