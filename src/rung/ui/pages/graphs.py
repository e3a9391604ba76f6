"""The graph of a plan or a run: each step as a box, sub-pipelines as frames or folded, very large plans by name of step."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rung.pipelines.records import Condition, StepRun, StepSpec
from rung.ui import words
from rung.ui.blocks import Charts, Visit, Words
from rung.ui.charts.dag import DagNode, Progress, dag
from rung.ui.words import TONE, address

MANY, MOST = 60, 600
_GROUP, _EACH = "group:", "each:"
_ENDED = {"succeeded", "cached", "failed", "cancelled", "skipped"}
_FIRST_OUTPUT = re.compile(r"\.0$")


@dataclass(frozen=True)
class Folds:
    """Which groups are shown as one box. Where there are many steps all are, until they are opened."""

    opened: frozenset[str]
    folded: frozenset[str]
    by_default: bool

    def of(self, within: str) -> str:
        """The outermost folded group on a way; empty when there is none."""
        parts = within.split("/") if within else []
        for depth in range(1, len(parts) + 1):
            way = "/".join(parts[:depth])
            if way in self.folded or (self.by_default and way not in self.opened):
                return way
        return ""


def graph(visit: Visit, title: str, specs: Sequence[StepSpec], steps: Sequence[StepRun], base: str) -> list[object]:
    """The picture, and a note where it does not show every step by itself.

    Args:
        steps: states of a run; none for a plan.
        base: the address of the page, for links that fold and open groups; steps of a run lie below it.
    """
    folds = Folds(frozenset(visit.many.get("open", ())), frozenset(visit.many.get("fold", ())), len(specs) > MANY)
    state = {step.key: step for step in steps}
    shown = {spec.key: _GROUP + way if (way := folds.of(spec.within)) else spec.key for spec in specs}
    notes = []
    if len(set(shown.values())) > MOST:
        shown = {spec.key: f"{_EACH}{spec.within}:{spec.step}" for spec in specs}
        notes.append(f"{len(specs):,} steps are too many to be drawn: steps of one name are one box here. The table below has each.")
    if len(set(shown.values())) > MOST:
        return [Words(f"{len(specs):,} steps of {len(set(shown.values())):,} names are too many to be drawn; the table below has each.")]
    members: dict[str, list[StepSpec]] = {}
    for spec in specs:
        members.setdefault(shown[spec.key], []).append(spec)
    nodes = []
    for key, held in members.items():
        needs = tuple(dict.fromkeys(shown[need] for spec in held for need in spec.needs if need in shown and shown[need] != key))
        if key == held[0].key:
            nodes.append(_step(held[0], needs, state.get(key), base if steps else ""))
        else:
            nodes.append(_folded(key, held, needs, [state[spec.key] for spec in held if spec.key in state], visit, base, run=bool(steps)))
    groups = {way for spec in specs for way in _ways(spec.within)}
    links = {way: _href(visit, base, fold=way) for way in groups}
    return [Charts([dag(title, nodes, links=links)]), *(Words(note) for note in notes)]


def said(condition: Condition) -> str:
    """A condition in words: ``score.auc > 0.8``."""
    if condition.operator in {"and", "or"}:
        return f" {condition.operator} ".join(
            f"({said(part)})" if part.operator in {"and", "or"} else said(part) for part in condition.parts
        )
    if condition.operator == "not":
        return f"not ({' and '.join(said(part) for part in condition.parts)})"
    left = _FIRST_OUTPUT.sub("", condition.source).replace("|", " or ")
    left += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in condition.path)
    if condition.operator == "true":
        return left
    right = said(condition.parts[0]) if condition.parts else words.plain(condition.value)
    return f"{left} {condition.operator} {right}"


def when_it_runs(spec: StepSpec) -> str:
    """What must hold for a step to run besides that what it needs has succeeded; empty when nothing."""
    parts = [f"if {' and '.join(said(condition) for condition in spec.conditions)}"] if spec.conditions else []
    parts += [{"always": "always", "on_failure": "on failure"}[spec.options.run]] if spec.options.run != "on_success" else []
    return ", ".join(parts)


def outcome(step: StepRun) -> str:
    """A line on how a step went."""
    if step.items:
        told = f"{step.items_done:,} of {words.many(step.items, 'item')}"
        return told + (f", {step.items_failed:,} failed" if step.items_failed else "")
    if step.status == "skipped":
        return step.reason
    tries = f"{step.attempts} tries" if step.attempts > 1 else ""
    took = words.lasted(step.wall_s) if step.status in {"succeeded", "failed", "cancelled"} and step.attempts else ""
    return ", ".join(part for part in (took, tries) if part)


def tone(status: str) -> str:
    """The tone of a step's state; what waits needs nobody's eye."""
    return "muted" if status in {"waiting", "skipped"} else TONE.get(status, "muted")


def _step(spec: StepSpec, needs: tuple[str, ...], held: StepRun | None, base: str) -> DagNode:
    name = spec.key
    wish = when_it_runs(spec)
    if held is None:
        over = f"map over {', '.join(spec.over)}" if spec.kind == "map" else ""
        told = ", ".join(part for part in (over, wish) if part)
        return DagNode(spec.key, name, needs, told or spec.doc or "step", "accent", many=spec.kind == "map", within=spec.within)
    detail = outcome(held) or (wish if held.status in {"waiting", "running"} else "")
    progress = Progress(held.items, held.items_done, held.items_cached, held.items_failed) if held.items else None
    whole = ": ".join(part for part in (f"{name} {held.status}", held.reason, wish) if part)
    return DagNode(
        spec.key, name, needs, held.status, tone(held.status), f"{base}/steps/{address(spec.key)[1:]}",
        detail, whole, progress, spec.kind == "map", spec.within, held.status == "skipped",
    )  # fmt: skip


def _folded(
    key: str, specs: Sequence[StepSpec], needs: tuple[str, ...], held: Sequence[StepRun], visit: Visit, base: str, *, run: bool
) -> DagNode:
    group = key.removeprefix(_GROUP) if key.startswith(_GROUP) else ""
    title = group.rpartition("/")[2] if group else specs[0].step
    within = group.rpartition("/")[0] if group else specs[0].within
    href = _href(visit, base, open=group) if group else (f"{base}?{words.query(name=title)}#steps" if run else "")
    count = words.many(len(specs), "step")
    if not run:
        return DagNode(key, title, needs, count, "accent", href, many=True, within=within)
    counts: Counter[str] = Counter(step.status for step in held)
    state = in_words(counts)
    done = sum(counts[status] for status in _ENDED)
    progress = Progress(len(specs), done, counts["cached"], counts["failed"])
    return DagNode(key, title, needs, state, tone_of(counts), href, count, f"{title}: {state}", progress, many=True, within=within)


def in_words(counts: Mapping[str, int]) -> str:
    """States with their counts, those that matter most first."""
    order = ("failed", "running", "cancelled", "waiting", "succeeded", "cached", "skipped")
    return ", ".join(f"{counts[status]:,} {status}" for status in order if counts.get(status))


def tone_of(counts: Mapping[str, int]) -> str:
    """The tone of many steps together."""
    if counts.get("failed") or counts.get("cancelled"):
        return "bad"
    if counts.get("running"):
        return "warn"
    return "muted" if counts.get("waiting") else "ok"


def _ways(within: str) -> Iterable[str]:
    parts = within.split("/") if within else []
    return ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def _href(visit: Visit, base: str, *, open: str = "", fold: str = "") -> str:
    opened = [way for way in visit.many.get("open", ()) if way != fold] + ([open] if open else [])
    folded = [way for way in visit.many.get("fold", ()) if way != open] + ([fold] if fold else [])
    return (
        f"{base}?{words.query_of([*(('open', way) for way in dict.fromkeys(opened)), *(('fold', way) for way in dict.fromkeys(folded))])}"
    )
