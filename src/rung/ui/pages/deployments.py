"""Deployments: what serves now, with which shares, which revisions led there, and the way back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

from rung.registry.engine_records import GetEngine
from rung.serving.ab_records import AbTest, GetAb
from rung.serving.arm_records import ListSwaps, MeasureArms, SwapTime
from rung.serving.comparing_records import CompareShadow, ListShadowComparisons
from rung.serving.node_records import ListNodes
from rung.serving.records import (
    CanaryVerdict,
    CountServed,
    Deployment,
    GetDeployment,
    ListCanaryVerdicts,
    ListDeployments,
    ListRevisions,
    Revision,
    Route,
)
from rung.serving.rollout_records import ListRolloutJudgements, ListRollouts, Rollout
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Form, Page, Stats, Table, Visit
from rung.ui.charts.bars import bar_chart
from rung.ui.charts.line import Series, line_chart
from rung.ui.charts.svg import Figure
from rung.ui.pages import release_blocks as blocks_of
from rung.ui.pages.answering_blocks import answering
from rung.ui.words import MISSING, joined, lasted, link, number, pill, when

_TALL = 12


def deployments(visit: Visit) -> Page:
    """Every deployment."""
    held = visit.ask(ListDeployments())
    if not held:
        return Page(
            "Deployments",
            "Nothing is deployed yet.",
            [
                Empty(
                    "A deployment answers requests with a model version.",
                    "rung deploy churn@champion --name churn",
                    'client.serving.deploy("churn", "churn", alias="champion")',
                )
            ],
            "rung endpoint list",
            {"deployments": ()},
        )
    rows = [(link(d.name, "deployments", d.name), d.environment, d.revision, routes(d.routes), when(d.changed_at)) for d in held]
    changing = sum(any(r.arm != "stable" for r in d.routes) for d in held)
    head = f"{words.many(len(held), 'deployment')}; " + (
        f"{changing} with a canary or shadow under way." if changing else "none with a change under way."
    )
    return Page(
        "Deployments",
        head,
        [Table(("deployment", "environment", "revision", "routes", "changed"), rows)],
        "rung endpoint list",
        {"deployments": held},
        live=True,
    )


def deployment(visit: Visit) -> Page:
    """One deployment."""
    name = visit.path["deployment"]
    held = visit.ask(GetDeployment(deployment=name))
    found = visit.find(ListRevisions(deployment=name)) or ()
    revisions = sorted(found, key=lambda r: -r.number)
    verdicts = visit.find(ListCanaryVerdicts(deployment=name)) or ()
    served = visit.find(CountServed(deployment=name)) or ()
    measured = visit.find(MeasureArms(deployment=name)) or ()
    rollouts = visit.find(ListRollouts(deployment=name)) or ()
    rollout = rollouts[0] if rollouts else None
    looks = (visit.find(ListRolloutJudgements(deployment=name, rollout=rollout.id)) or ()) if rollout else ()
    test = visit.find(GetAb(deployment=name))
    kept = visit.find(ListShadowComparisons(deployment=name)) or ()
    shadow = visit.find(CompareShadow(deployment=name)) if any(x.arm == "shadow" for x in held.routes) else None
    swaps = {swap.revision: swap for swap in visit.find(ListSwaps(deployment=name)) or ()}
    days: dict[str, int] = defaultdict(int)
    for row in served:
        days[row.day] += row.rows
    stats = Stats(
        [
            ("revision", held.revision, "accent"),
            ("environment", held.environment, ""),
            ("rows answered", number(sum(days.values())), ""),
            ("rows that failed", number(sum(r.errors for r in served)), "bad" if any(r.errors for r in served) else ""),
            ("last change took", f"{revisions[0].duration_ms:.1f} ms" if revisions else MISSING, ""),
        ]
    )
    blocks: list[object] = [stats, blocks_of.arms(measured, _engines(visit, held.routes)), Charts(_figures(held, revisions, days))]
    if rollout is not None:
        blocks += blocks_of.rollout(rollout, looks)
    if test is not None:
        blocks += blocks_of.tested(test)
    if shadow is not None:
        blocks += blocks_of.shadow(shadow)
    if kept:
        blocks.append(blocks_of.shadows(kept))
    nodes = visit.find(ListNodes(deployment=name)) or ()
    if nodes:
        blocks.append(blocks_of.nodes(nodes, name, held.revision))
    blocks += [*answering(held.options), _revisions(revisions, swaps), _judged(verdicts), _elsewhere(held)]
    data = {
        "deployment": held, "revisions": revisions, "canary_verdicts": verdicts, "served": served, "arms": measured, "rollout": rollout,
        "judgements": looks, "ab": test, "shadow": shadow, "shadows": kept, "nodes": nodes,
    }  # fmt: skip
    under_way = rollout if rollout is not None and rollout.state in {"growing", "paused"} else None
    changing = any(x.arm != "stable" for x in held.routes)
    return Page(
        "Deployment", f"{name} serves {_said(held.routes)}{_graphed(held)}.{blocks_of.said_of(under_way)}", blocks, f"rung endpoint show {name}", data,
        live=changing, refresh_s=3, still=_acts(visit, held, revisions, under_way, test),
        shape=f"{held.revision} {under_way.state if under_way else ''}",
    )  # fmt: skip


def _acts(visit: Visit, held: Deployment, revisions: Sequence[Revision], under_way: Rollout | None, test: AbTest | None) -> list[object]:
    """What the visitor may do about the deployment."""
    if not visit.may("deployment:deploy"):
        return []
    acts = blocks_of.brakes(held.name, under_way, canary=any(x.arm in {"canary", "shadow"} for x in held.routes))
    if test is not None and test.state == "running":
        acts += blocks_of.stops(test)
    if len(revisions) > 1:
        acts.append(Form("/act/rollback", "Roll back to the version before", {"deployment": held.name}, [("reason", "Reason", "")]))
    return acts


def _figures(held: Deployment, revisions: Sequence[Revision], days: dict[str, int]) -> list[Figure]:
    figures = [
        bar_chart("Share of requests by route", [(f"{r.model}:{r.number} {r.arm}", r.share * 100) for r in held.routes], label="per cent")
    ]
    over_time = blocks_of.shares_over_time(revisions, datetime.now(UTC))
    if over_time is not None:
        figures.insert(0, over_time)
    if len(days) > 1:
        points = tuple((_seconds(day), float(count)) for day, count in sorted(days.items()))
        figures.append(line_chart("Rows answered a day", [Series("rows", points)], y_label="rows", time=True))
    return figures


def _engines(visit: Visit, held: Sequence[Route]) -> dict[str, str]:
    """The engine that serves each version, where that is on record."""
    found = {f"{x.model}:{x.number}": visit.find(GetEngine(model=x.model, number=x.number)) for x in held}
    return {version: engine.engine for version, engine in found.items() if engine is not None}


def _elsewhere(held: Deployment) -> Table:
    came_from = link("What it came from", "lineage", "deployment", f"{held.name}:{held.revision}")
    answered = link("What it answered", "deployments", held.name, "predictions")
    return Table(("", "", ""), [(link("How it is doing", "monitors", held.name), answered, came_from)])


def _revisions(revisions: Sequence[Revision], swaps: dict[int, SwapTime]) -> Table:
    rows = [
        (
            r.number,
            r.change,
            routes(r.routes),
            when(r.created_at),
            r.created_by,
            f"{r.duration_ms:.1f}\u00a0ms",
            f"{lasted(swaps[r.number].after_s)}, {swaps[r.number].load_ms:.0f} ms of it loading" if r.number in swaps else MISSING,
            r.override_reason or r.reason or MISSING,
        )
        for r in revisions
    ]
    return Table(("revision", "change", "routes", "when", "by", "took", "answered after", "why"), rows, "Revisions", tall=len(rows) > _TALL)


def _judged(verdicts: Sequence[CanaryVerdict]) -> Table:
    judged = [
        (
            when(v.created_at),
            v.revision,
            pill(v.outcome),
            number(v.canary_rows),
            number(v.stable_rows),
            number(v.slowdown),
            " ".join(v.reasons),
        )
        for v in verdicts
    ]
    title = "Canary verdicts" if judged else ""
    return Table(("when", "revision", "outcome", "canary rows", "stable rows", "slowdown", "why"), judged, title)


def routes(held: tuple[Route, ...]) -> object:
    """Routes in a cell: version, arm and share."""
    return joined([link(f"{r.model}:{r.number} {r.arm} {r.share:.0%}", "models", r.model, r.number) for r in held], ", ")


def _said(held: tuple[Route, ...]) -> str:
    said = [f"{r.model}:{r.number} ({r.arm})" if r.arm == "shadow" else f"{r.model}:{r.number} ({r.arm}, {r.share:.0%})" for r in held]
    return " and ".join(said) or "nothing"


def _graphed(held: Deployment) -> str:
    return " by a graph" if held.options.graph is not None and held.options.graph.nodes else ""


def _seconds(day: str) -> float:
    return datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()
