"""Reproductions: runs executed again and compared output by output, and the auditor's reports over all that is deployed."""

from __future__ import annotations

from rung.pipelines.reproducing import (
    ChangeSince,
    GetReproduction,
    ListReproductionReports,
    ListReproductions,
    OutputComparison,
    ReproductionReport,
)
from rung.ui import words
from rung.ui.blocks import Empty, Facts, Page, Table, Visit, Words
from rung.ui.pages.pipeline_run import REPRODUCED, reproduction_row
from rung.ui.pages.pipelines import tabs
from rung.ui.words import MISSING, digest, joined, link, number, pill, when

_MOST, _PARTS = 500, 20
TONE = {"identical": "ok", "equivalent": "accent", "different": "bad", "": "muted"}


def reproductions(visit: Visit) -> Page:
    """Every reproduction with its verdict, and the reports that were filed."""
    held = visit.ask(ListReproductions(limit=200))
    reports = visit.find(ListReproductionReports()) or ()
    if not held and not reports:
        blank = Empty(
            "A finished run can be executed again from its own code and libraries, and compared output by output.", "rung reproduce train:1"
        )
        return Page(
            "Reproductions", "No run was reproduced yet.", [tabs("/reproductions"), blank], "rung reproduce train:1", {"reproductions": ()}
        )
    alike = sum(item.likeness != "different" for item in held)
    blocks: list[object] = [tabs("/reproductions"), Table(REPRODUCED, [reproduction_row(item) for item in held])]
    if reports:
        rows = [
            (
                when(r.created_at),
                pill("holds" if r.holds else "does not hold", "ok" if r.holds else "bad"),
                _told(r),
                r.created_by,
                digest(r.digest),
            )
            for r in reports
        ]
        blocks.append(Table(("when", "verdict", "deployed versions", "by", "digest"), rows, "Reports over everything deployed"))
    head = f"{alike} of {words.many(len(held), 'reproduction')} came out as the run they repeat."
    return Page("Reproductions", head, blocks, "rung reproduce --all-deployed", {"reproductions": held, "reports": reports})


def reproduction(visit: Visit) -> Page:
    """One reproduction: what differs around the run, and every output and metric compared. Raises NotFound."""
    held = visit.ask(GetReproduction(id=visit.path["reproduction"]))
    of = f"{held.pipeline}:{held.number}" if held.pipeline else held.pipeline_run[:8]
    facts: list[tuple[str, object]] = [
        ("verdict", pill(held.likeness, TONE[held.likeness])), ("of", link(of, "pipeline-runs", held.pipeline_run)),
        ("executed as", link(held.repeated_as[:8], "pipeline-runs", held.repeated_as)),
        ("compare the two", joined([_compare(held.pipeline_run, held.repeated_as)])), ("first difference", held.first_diverging_step or "none"),
        ("tolerance", f"{held.tolerance:g}"), ("network", held.network), ("libraries", "built anew from the lock" if held.rebuilt else "found here as recorded"),
        ("not repeated", ", ".join(held.not_repeated)), ("when", when(held.created_at)), ("by", held.created_by), ("report", digest(held.report)),
    ]  # fmt: skip
    differing = [c for c in held.comparisons if c.likeness != "identical"]
    shown = sorted(held.comparisons, key=lambda c: ("different", "equivalent", "identical").index(c.likeness))
    rows = [_output(comparison) for comparison in shown[:_MOST]]
    note = f"The first {_MOST} of {len(shown):,}." if len(shown) > _MOST else ""
    metrics = [
        (m.metric, pill(m.likeness, TONE[m.likeness]), number(m.original, 6), number(m.repeated, 6), number(m.difference, 3))
        for m in held.metrics
    ]
    blocks: list[object] = [tabs(""), Facts([(name, value) for name, value in facts if value != ""], wide=True)]
    blocks += [Words(line) for line in held.notes]
    if held.changes:
        blocks.append(Table(("what", "which", "was", "is", "so"), [_change(change) for change in held.changes], "What is not as it was"))
    blocks.append(Table(("step", "output", "verdict", "why", "then", "now"), rows, "Outputs", note))
    blocks += [Table(("metric", "verdict", "then", "now", "difference"), metrics, "Metrics")] if metrics else []
    told = (
        f"{len(differing)} of {words.many(len(held.comparisons), 'output')} not byte by byte the same."
        if differing
        else "every output is the same byte by byte."
    )
    head = f"{of} came out {held.likeness}: {told}"
    return Page("Reproduction", head, blocks, f"rung reproduce {of}", {"reproduction": held})


def _output(held: OutputComparison) -> tuple[object, ...]:
    parts = [f"{p.name}: {p.detail or p.likeness}" for p in held.parts if p.likeness != "identical"]
    more = f" and {len(parts) - _PARTS} more" if len(parts) > _PARTS else ""
    detail = "; ".join([held.detail, *parts[:_PARTS]]) + more
    name = held.output if held.item is None else f"{held.output}, item {held.item}"
    return held.step, name, pill(held.likeness, TONE[held.likeness]), detail[:2000], digest(held.original), digest(held.repeated)


def _change(held: ChangeSince) -> tuple[object, ...]:
    return held.kind, held.subject, held.was or MISSING, held.now or MISSING, held.detail


def _compare(before: str, after: str) -> object:
    from markupsafe import Markup  # noqa: PLC0415 - one link

    return Markup('<a href="/pipeline-compare?{}">side by side</a>').format(words.query(before=before, after=after))


def _told(held: ReproductionReport) -> object:
    parts = []
    for entry in held.entries[:20]:
        version = entry.version
        name = f"{version.model}:{version.number} on {version.deployment}"
        verdict = entry.likeness or entry.problem or version.problem or "not reproduced"
        parts.append(joined([link(name, "models", version.model, version.number), pill(verdict[:80], TONE.get(entry.likeness, "muted"))]))
    return joined(parts, ", ") if parts else "none was deployed"
