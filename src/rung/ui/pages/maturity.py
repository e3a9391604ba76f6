"""Maturity: where the project stands on each scale, what proves it, and what to do next."""

from __future__ import annotations

from markupsafe import Markup

from rung.maturity.records import CriterionResult, GetAssessment, GetHistory
from rung.ui import words
from rung.ui.blocks import Charts, Page, Table, Visit, Words
from rung.ui.charts.bars import bar_chart
from rung.ui.charts.ladder import ladder
from rung.ui.charts.line import Series, line_chart
from rung.ui.words import pill

_NEXT = 3


def maturity(visit: Visit) -> Page:
    """The newest assessment, made from a snapshot now."""
    held = visit.ask(GetAssessment())
    history = visit.find(GetHistory()) or ()
    targets = {target.scale: target.level for target in held.targets}
    ladders = [
        ladder(f"{s.title}: {s.name}", base=s.base, top=s.top, level=s.level, reached=s.reached, target=targets.get(s.scale))
        for s in held.scales
    ]
    steps = [
        (n.text, n.gain, Markup("<code>{}</code>").format(n.command) if n.command else words.MISSING, n.evidence)
        for n in held.steps[:_NEXT]
    ]
    depth = bar_chart(
        "Share of each dimension's criteria that hold",
        [(d.name, d.depth * 100) for d in held.dimensions],
        label="per cent",
        show=lambda v: f"{v:.0f} %",
    )
    sections = bar_chart(
        f"ML Test Score: {held.test_score.final:g}, {held.test_score.band}",
        list(held.test_score.sections.items()),
        label="points; the least section counts",
    )
    figures = [depth, sections]
    if len(history) > 1:
        scales = list(history[-1].levels)
        figures.append(
            line_chart(
                "Level reached over time",
                [Series(name, tuple((p.at.timestamp(), p.levels[name]) for p in history if name in p.levels)) for name in scales],
                y_label="level",
                time=True,
            )
        )
    counts = ", ".join(f"{count} {status}" for status, count in held.counts.items())
    blocks = [
        Charts(ladders),
        Table(("what to do", "gains", "command", "proved by"), steps, "Next steps" if steps else ""),
        Charts(figures, "Dimensions"),
        Words(f"{counts}. What no record proves counts as missing.", "Criteria"),
        *(_criteria(d.name, d.passed, d.total, [c for c in held.criteria if c.dimension == d.name]) for d in held.dimensions),
        *(Words(note) for note in held.notes),
    ]
    head = " ".join(s.sentence for s in held.scales[:1]) or "No scale is known."
    return Page("Maturity", head, blocks, "rung maturity", {"assessment": held, "history": history})


def _criteria(name: str, passed: int, total: int, criteria: list[CriterionResult]) -> Table:
    rows = [
        (
            c.id,
            pill(c.status, "muted" if c.status in {"unknown", "n.a."} else None),
            c.text,
            c.reason,
            ", ".join(f"{row.kind} {row.label or row.id}" for row in c.rows[:3]) or words.MISSING,
            Markup("<code>{}</code>").format(c.command) if c.command else words.MISSING,
        )
        for c in criteria
    ]
    return Table(("", "state", "criterion", "why", "evidence", "command"), rows, f"{name}: {passed} of {total} hold", folded=True)
