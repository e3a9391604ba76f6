"""Blocks of a deployment's page about what is changing: arms, growing canary, A/B test, shadow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import isfinite

from rung.serving.ab_records import AbTest
from rung.serving.arm_records import ArmFigures
from rung.serving.comparing_records import ShadowComparison
from rung.serving.node_records import InferenceNode
from rung.serving.records import Revision
from rung.serving.rollout_records import Rollout, RolloutJudgement
from rung.ui.blocks import Facts, Form, Table, Words
from rung.ui.charts.line import Series, line_chart
from rung.ui.charts.svg import Figure
from rung.ui.words import MISSING, lasted, link, number, pill, share, size, when

_SHOWN = 40


def shares_over_time(revisions: Sequence[Revision], now: datetime) -> Figure | None:
    """Share of requests by version over the newest revisions, as steps."""
    ordered = sorted(revisions, key=lambda r: r.number)[-_SHOWN:]
    names = list(dict.fromkeys(f"{x.model}:{x.number}" for r in ordered for x in r.routes if x.arm != "shadow"))
    if len(ordered) < 2 or len(names) < 2:  # noqa: PLR2004 - one share of one version is no course
        return None
    series = []
    for name in names:
        points: list[tuple[float, float]] = []
        for index, revision in enumerate(ordered):
            held = sum(x.share for x in revision.routes if f"{x.model}:{x.number}" == name and x.arm != "shadow") * 100
            end = ordered[index + 1].created_at if index + 1 < len(ordered) else max(now, revision.created_at)
            points += [(revision.created_at.timestamp(), held), (end.timestamp(), held)]
        series.append(Series(name, tuple(points)))
    marks = [(r.created_at.timestamp(), r.change) for r in ordered if r.change in {"promote", "rollback"}]
    return line_chart(
        "Share of requests by version, per cent", series, y_label="per cent", time=True, annotations=marks[-2:], span=(0.0, 100.0)
    )


def arms(held: Sequence[ArmFigures], engines: dict[str, str]) -> Table:
    """What each arm does now."""
    rows = [
        (
            x.arm,
            link(f"{x.model}:{x.number}", "models", x.model, x.number),
            share(x.share),
            engines.get(f"{x.model}:{x.number}", MISSING),
            number(x.rows),
            number(x.errors),
            number(x.p50_ms, 3),
            number(x.p95_ms, 3),
            number(x.p99_ms, 3),
            number(x.mean_score),
            when(x.last),
        )
        for x in held
    ]
    columns = ("arm", "version", "share", "engine", "rows", "failed", "p50 ms", "p95 ms", "p99 ms", "mean score", "last answer")
    return Table(columns, rows, "Live traffic by arm", "since each version took its place; times are those of whole requests")


def rollout(held: Rollout, looks: Sequence[RolloutJudgement]) -> list[object]:
    """A canary's way: state, what its gates found at the last look, and the looks before."""
    steps = ", ".join(f"{step:.0%}" for step in held.plan.steps)
    facts = Facts(
        [
            ("canary", link(f"{held.model}:{held.number}", "models", held.model, held.number)),
            ("state", pill(held.state)),
            ("share now", share(held.share)),
            ("steps", steps),
            ("rows a step takes", number(held.plan.step_rows)),
            ("looks", number(held.looks)),
        ],
        "Rollout",
        wide=True,
    )
    blocks: list[object] = [facts, *([Words(held.reason)] if held.reason else [])]
    if held.latest is not None:
        latest = held.latest
        rows = [
            (
                x.gate,
                pill(x.outcome),
                number(x.figure),
                _between(x.low, x.high),
                number(x.limit),
                x.reason,
            )
            for x in latest.findings
        ]
        note = f"look {latest.look}, which may err with {latest.alpha:.2g}; all looks together with 5 %"
        blocks.append(Table(("gate", "outcome", "figure", "bounds", "limit", "why"), rows, "Gates at the last look", note))
    seen = [
        (
            when(x.created_at),
            x.look,
            share(x.share),
            number(x.canary_rows),
            number(x.labelled_rows),
            pill(x.outcome),
            x.action.replace("_", " "),
            " ".join(x.reasons)[:300],
        )
        for x in looks
    ]
    columns = ("when", "look", "share", "canary rows", "labels", "outcome", "then", "why")
    blocks.append(Table(columns, seen, "Judgements" if seen else "", folded=len(seen) > 3))  # noqa: PLR2004 - the newest are above
    return blocks


def brakes(deployment: str, held: Rollout | None, *, canary: bool) -> list[object]:
    """The acts on a canary under way."""
    hidden, reason = {"deployment": deployment}, [("reason", "Reason", "")]
    forms: list[object] = []
    if held is not None and held.state == "growing":
        forms.append(Form("/act/pause-rollout", "Pause the rollout", hidden, reason))
    if held is not None and held.state == "paused":
        forms.append(Form("/act/resume-rollout", "Resume the rollout", hidden, reason))
    if canary:
        forms.append(Form("/act/abort-canary", "Abort the canary", hidden, reason))
        forms.append(Form("/act/promote-canary", "Promote the canary now", hidden, reason))
    return forms


def tested(held: AbTest) -> list[object]:
    """An A/B test: what every arm earned, beside the stable one, with the interval that holds at any time."""
    looked = {x.arm: x for x in held.latest.arms} if held.latest else {}
    rows = []
    for arm in held.arms:
        x = looked.get(arm.arm)
        version = link(f"{arm.model}:{arm.number}", "models", arm.model, arm.number)
        if x is None:
            rows.append((arm.arm, version, share(arm.share), *[MISSING] * 6))
            continue
        p = MISSING if arm.arm == "stable" else f"{x.p:.3g}"
        rows.append(
            (
                arm.arm,
                version,
                share(x.share),
                number(x.rows),
                number(x.labelled),
                number(x.mean),
                number(x.difference),
                _between(x.low, x.high),
                p,
            )
        )
    columns = (
        "arm",
        "version",
        "share",
        "rows",
        "labels",
        f"mean {held.reward.replace('_', ' ')}",
        "difference",
        "always-valid interval",
        "p",
    )
    note = f"policy {held.policy}; the interval holds at every look with {1 - held.alpha:.0%}"
    said = held.latest.conclusion if held.latest else "No labels of its arms have come yet."
    return [Table(columns, rows, f"A/B test, {held.state}", note), Words(said)]


def stops(held: AbTest) -> list[object]:
    """End the test with one of its arms."""
    return [
        Form("/act/stop-ab", f"End the test, keep {arm.arm} ({arm.model}:{arm.number})", {"deployment": held.deployment, "keep": arm.arm}, [("reason", "Reason", "")])
        for arm in held.arms
    ]  # fmt: skip


def shadow(held: ShadowComparison) -> list[object]:
    """A shadow beside what was answered."""
    facts = Facts(
        [
            ("shadow", link(f"{held.model}:{held.number}", "models", held.model, held.number)),
            ("beside", link(f"{held.beside_model}:{held.beside_number}", "models", held.beside_model, held.beside_number)),
            ("pairs", number(held.pairs)),
            ("agreement", f"{share(held.agreement)} ({share(held.agreement_low)} to {share(held.agreement_high)})"),
            ("mean difference", number(held.mean_difference)),
            ("largest difference", number(held.largest)),
            ("correlation", number(held.correlation)),
            ("rows it failed on", number(held.errors)),
            ("median ms a row", f"{number(held.time_ms)} beside {number(held.beside_time_ms)}"),
            ("slowdown", f"{number(held.slowdown)} ({number(held.slowdown_low)} to {number(held.slowdown_high)})"),
        ],
        "Shadow beside what was answered",
        wide=True,
    )
    rows = [(link(x.id[:32], "lineage", "prediction", x.id), number(x.answered), number(x.shadow), when(x.event_time)) for x in held.worst]
    return [facts, Words(held.conclusion), Table(("prediction", "answered", "shadow", "at"), rows, "Largest differences", folded=True)]


def shadows(kept: Sequence[ShadowComparison]) -> Table:
    """What was kept of every shadow; the log may have forgotten its rows."""
    rows = [
        (
            link(f"{x.model}:{x.number}", "models", x.model, x.number),
            link(f"{x.beside_model}:{x.beside_number}", "models", x.beside_model, x.beside_number),
            number(x.pairs),
            share(x.agreement),
            number(x.errors),
            when(x.first_event),
            when(x.last_event),
            "stands" if x.ended_at is None else when(x.ended_at),
            x.conclusion,
        )
        for x in kept
    ]
    columns = ("shadow", "beside", "pairs", "agreement", "failed", "first event", "last event", "ended", "conclusion")
    return Table(columns, rows, "Shadows compared", "kept, whatever the prediction log forgets", folded=len(rows) > 3)  # noqa: PLR2004 - the newest are above


def nodes(held: Sequence[InferenceNode], deployment: str, revision: int) -> Table:
    """Which inference nodes serve a deployment, and whether they have the revision in force."""
    rows = []
    for one in held:
        served = next((x for x in one.state.serves if x.deployment == deployment), None)
        trouble = one.state.failed.get(deployment) or one.state.trouble
        state = "silent" if one.silent else "current" if served and served.revision == revision else "behind"
        rows.append((
            one.state.name, pill(state, "ok" if state == "current" else "bad" if state == "silent" else "warn"), served.revision if served else MISSING,
            when(served.since if served else None), when(one.seen_at), size(one.state.waiting_bytes), lasted(one.state.lag_s), trouble or MISSING,
        ))  # fmt: skip
    columns = ("inference node", "state", "revision", "since", "last heard", "not shipped", "for", "trouble")
    return Table(columns, rows, "Inference nodes", "which follow this platform, and what of their log has not come yet")


def said_of(held: Rollout | None) -> str:
    """A growing canary in a sentence; empty without one."""
    if held is None or held.state not in {"growing", "paused"}:
        return ""
    version = f"{held.model}:{held.number}"
    return f" {version} is {held.state} at {held.share:.0%}, step {held.step + 1} of {len(held.plan.steps)}."


def _between(low: float, high: float) -> str:
    if isfinite(low) and isfinite(high):
        return f"{number(low)} to {number(high)}"
    return f"from {number(low)}" if isfinite(low) else f"up to {number(high)}" if isfinite(high) else MISSING
