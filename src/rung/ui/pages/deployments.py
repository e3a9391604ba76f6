"""Deployments: what serves now, with which shares, which revisions led there, and the way back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from rung.serving.records import (
    CanaryVerdict,
    CountServed,
    GetDeployment,
    ListCanaryVerdicts,
    ListDeployments,
    ListRevisions,
    Revision,
    Route,
)
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Form, Page, Stats, Table, Visit
from rung.ui.charts.bars import bar_chart
from rung.ui.charts.line import Series, line_chart
from rung.ui.words import MISSING, joined, link, number, pill, when


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
    held_revisions = visit.find(ListRevisions(deployment=name)) or ()
    revisions = sorted(held_revisions, key=lambda r: -r.number)
    verdicts = visit.find(ListCanaryVerdicts(deployment=name)) or ()
    served = visit.find(CountServed(deployment=name)) or ()
    shares = bar_chart(
        "Share of requests by route", [(f"{r.model}:{r.number} {r.arm}", r.share * 100) for r in held.routes], label="per cent"
    )
    days: dict[str, int] = defaultdict(int)
    for row in served:
        days[row.day] += row.rows
    figures = [shares]
    if len(days) > 1:
        points = tuple((_seconds(day), float(count)) for day, count in sorted(days.items()))
        figures.append(line_chart("Rows answered a day", [Series("rows", points)], y_label="rows", time=True))
    stats = Stats(
        [
            ("revision", held.revision, "accent"),
            ("environment", held.environment, ""),
            ("rows answered", number(sum(days.values())), ""),
            ("rows that failed", number(sum(r.errors for r in served)), "bad" if any(r.errors for r in served) else ""),
        ]
    )
    blocks: list[object] = [stats, Charts(figures), _revisions(revisions)]
    if len(revisions) > 1:
        blocks.append(Form("/act/rollback", "Roll back to the revision before", {"deployment": name}, [("reason", "Reason", "")]))
    blocks.append(_judged(verdicts))
    blocks.append(
        Table(
            ("", ""),
            [(link("How it is doing", "monitors", name), link("What it came from", "lineage", "deployment", f"{name}:{held.revision}"))],
        )
    )
    head = f"{name} serves {_said(held.routes)}."
    return Page(
        "Deployment",
        head,
        blocks,
        f"rung endpoint show {name}",
        {"deployment": held, "revisions": revisions, "canary_verdicts": verdicts, "served": served},
    )


def _revisions(revisions: Sequence[Revision]) -> Table:
    rows = [
        (
            r.number,
            r.change,
            routes(r.routes),
            when(r.created_at),
            r.created_by,
            f"{r.duration_ms:.0f} ms",
            r.override_reason or r.reason or MISSING,
        )
        for r in revisions
    ]
    return Table(("revision", "change", "routes", "when", "by", "took", "why"), rows, "Revisions")


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
    return " and ".join(f"{r.model}:{r.number} ({r.arm}, {r.share:.0%})" for r in held) or "nothing"


def _seconds(day: str) -> float:
    return datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()
