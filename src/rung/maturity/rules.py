"""Levels from statuses: pure, monotone, and never above what the gates prove.

Level = the highest L whose gates 1..L all hold fully. A half does not hold. A signature holds only people gates, and at
most half of those up to the level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rung.maturity.catalogue import TITLES, Catalogue
from rung.maturity.records import CriterionResult, Dimension, NextStep, Scale, ScaleResult, Status, Target, TestScore

POINTS: dict[Status, float] = {"pass": 1.0, "attested": 1.0, "manual": 0.5, "fail": 0.0, "unknown": 0.0, "n.a.": 0.0}
_BANDS = ((0.0, "research project"), (1.0, "holes remain"), (2.0, "first pass"), (3.0, "reasonable"), (5.0, "strong"))
STEPS = 3


def holds(statuses: Mapping[str, Status], gate: str, people: Iterable[str]) -> bool:
    """Whether a gate is fully met; a signature holds people gates only."""
    status = statuses.get(gate, "unknown")
    return status in {"pass", "n.a."} or (status == "attested" and gate in people)


def scale_result(book: Catalogue, scale: Scale, statuses: Mapping[str, Status]) -> ScaleResult:
    """The level reached on one scale, and how far the next one is."""
    rule = book.scales[scale]
    level = rule.base
    while level < rule.top and not _missing(book, scale, level + 1, statuses):
        level += 1
    following = rule.gates.get(str(level + 1), ())
    missing = _missing(book, scale, level + 1, statuses) if level < rule.top else ()
    held = len(following) - len(missing)
    reached = level + (held / len(following) if following else 0.0)
    name = rule.names[str(level)]
    told = f"{held} of {len(following)} gates of level {level + 1} hold." if following else "This is the highest level."
    return ScaleResult(
        scale=scale, title=TITLES[scale], level=level, base=rule.base, top=rule.top, name=name, reached=reached,
        next_total=len(following), next_held=held, missing=missing, sentence=f"{TITLES[scale]}: level {level} ({name}). {told}",
    )  # fmt: skip


def _missing(book: Catalogue, scale: Scale, level: int, statuses: Mapping[str, Status]) -> tuple[str, ...]:
    """Gates of one level that do not hold; signed people gates beyond the cap count among them."""
    gates = book.scales[scale].gates
    missing = [gate for gate in gates[str(level)] if not holds(statuses, gate, book.people)]
    upto = [gate for number in range(1, level + 1) for gate in gates.get(str(number), ())]
    people = [gate for gate in dict.fromkeys(upto) if gate in book.people or gate == "H05"]
    signed = [gate for gate in people if statuses.get(gate) == "attested"]
    allowed = int(len(people) * book.people_share)
    beyond = signed[allowed:]
    return tuple(missing + [gate for gate in beyond if gate in gates[str(level)] and gate not in missing])


def test_score(book: Catalogue, statuses: Mapping[str, Status]) -> TestScore:
    """Sums of the four sections and their minimum; n.a. scores 0, a signature half."""
    sections: dict[str, float] = {}
    for test, row in sorted(book.test_score.items()):
        status = statuses.get(row, "unknown")
        sections[test[0]] = sections.get(test[0], 0.0) + (0.5 if status == "attested" else POINTS[status])
    final = min(sections.values())
    band = next((name for upper, name in _BANDS if final <= upper), "exceptional")
    return TestScore(sections=sections, final=final, band=band)


def dimensions(book: Catalogue, statuses: Mapping[str, Status]) -> tuple[Dimension, ...]:
    """Depth of each dimension."""
    names = list(dict.fromkeys(row.dimension for row in book.criteria))
    told = []
    for name in names:
        rows = [row for row in book.criteria if row.dimension == name]
        weight = sum(book.weights[row.kind] for row in rows)
        depth = sum(book.weights[row.kind] * POINTS[statuses.get(row.id, "unknown")] for row in rows) / weight
        passed = sum(POINTS[statuses.get(row.id, "unknown")] == 1.0 for row in rows)
        told.append(Dimension(name=name, depth=min(depth, 1.0), passed=passed, total=len(rows)))
    return tuple(told)


def next_steps(
    book: Catalogue, results: tuple[CriterionResult, ...], scales: tuple[ScaleResult, ...], targets: tuple[Target, ...]
) -> tuple[NextStep, ...]:
    """At most three: missing ALWAYS rows first, then the gates that count on most scales, those a command exists for first."""
    by_id = {result.id: result for result in results}
    enough = {target.scale for target in targets for scale in scales if scale.scale == target.scale and scale.level >= target.level}
    open_scales = [scale for scale in scales if scale.scale not in enough]
    always = [row for row in book.always if POINTS[by_id[row].status] < 1.0]
    counts = {gate: sum(gate in scale.missing for scale in open_scales) for scale in open_scales for gate in scale.missing}

    def order(row: str) -> tuple[int, bool, str]:
        return -counts.get(row, 0), by_id[row].planned, row

    chosen = [*sorted(always, key=order), *sorted((row for row in counts if row not in always), key=order)]
    merged: dict[str, list[str]] = {}
    for row in chosen:
        merged.setdefault(by_id[row].command, []).append(row)
    return tuple(_step(book, by_id, rows, open_scales) for rows in list(merged.values())[:STEPS])


def _step(book: Catalogue, by_id: Mapping[str, CriterionResult], rows: list[str], scales: list[ScaleResult]) -> NextStep:
    first = by_id[rows[0]]
    gains = []
    for scale in scales:
        closed = [row for row in rows if row in scale.missing]
        if closed:
            needed = len(scale.missing)
            gains.append(f"{scale.title.split()[0]} {scale.level} to {scale.level + 1} lacks {needed}; this closes {len(closed)}")
    evidence = next(row.evidence for row in book.criteria if row.id == rows[0])
    gain = ". ".join(gains) or "Asked for at every level"
    return NextStep(criteria=tuple(rows), text=first.text, gain=f"{gain}.", command=first.command, planned=first.planned, evidence=evidence)
