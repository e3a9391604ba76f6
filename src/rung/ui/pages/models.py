"""Models: the list with the webhooks that are told of them, and one model with its gate matrix, aliases and rules."""

from __future__ import annotations

from collections.abc import Sequence

from rung.evaluation.records import Evaluation, ListEvaluations
from rung.registry.records import (
    AliasMove,
    GateResult,
    GateRules,
    GetGateRules,
    GetModel,
    GetVersion,
    ListAliasMoves,
    ListModels,
    ListVerdicts,
    ListVersions,
    Verdict,
)
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Facts, Form, Page, Stats, Table, Visit, Words
from rung.ui.charts.bars import bar_chart
from rung.ui.charts.line import Series, line_chart
from rung.ui.words import MISSING, joined, link, number, pill, when

_MAIN = ("auc", "roc_auc", "rmse", "mae", "accuracy", "log_loss")
_EMPTY = 'import rung\n\nclient = rung.connect()\nclient.registry.register("churn", estimator, example=frame, label="churned")'


def models(visit: Visit) -> Page:
    """Every model."""
    held = visit.ask(ListModels())
    if not held:
        return Page(
            "Models",
            "No model is registered yet.",
            [Empty("A model version is what a run produced, numbered and immutable.", "rung model list", _EMPTY)],
            "rung model list",
            {"models": ()},
        )
    rows = [
        (
            link(m.name, "models", m.name),
            m.task,
            m.versions,
            joined([pill(f"{a} → {n}", "ok") for a, n in m.aliases.items()]),
            m.description or MISSING,
            when(m.created_at),
        )
        for m in held
    ]
    without = [m.name for m in held if "champion" not in m.aliases]
    head = f"{words.many(len(held), 'model')}; " + (f"{len(without)} without a champion." if without else "each has a champion.")
    return Page(
        "Models", head, [Table(("model", "task", "versions", "aliases", "about", "since"), rows)], "rung model list", {"models": held}
    )


def model(visit: Visit) -> Page:
    """One model."""
    name = visit.path["model"]
    held = visit.ask(GetModel(model=name))
    versions = visit.ask(ListVersions(model=name)).items
    verdicts = visit.find(ListVerdicts(model=name)) or ()
    evaluations = visit.find(ListEvaluations(model=name)) or ()
    moves = visit.find(ListAliasMoves(model=name)) or ()
    rules = visit.find(GetGateRules(model=name))
    last = {v.number: v for v in reversed(verdicts)}
    newest = {e.number: e for e in reversed(evaluations)}
    metric = main_metric(evaluations)
    rows = [
        (
            link(f"{name}:{v.number}", "models", name, v.number),
            joined([pill(a, "ok") for a in v.aliases]),
            _verdict(last.get(v.number)),
            number(newest[v.number].scores.get(metric)) if v.number in newest else MISSING,
            v.format,
            words.size(v.size_bytes),
            when(v.created_at),
            v.created_by,
        )
        for v in versions
    ]
    points = tuple((float(n), newest[n].scores[metric]) for n in sorted(newest) if metric in newest[n].scores)
    figures = (
        [line_chart(f"{metric} of each version on its own evaluation", [Series(metric, points)], y_label=metric, x_label="version")]
        if len(points) > 1
        else []
    )
    blocks = [
        Words(held.description),
        Table(("version", "aliases", "verdict", metric or "score", "format", "size", "registered", "by"), rows, "Versions"),
        _matrix(name, [v.number for v in versions], last),
        Charts(figures),
        _gates(rules) if rules else Words(""),
        _moves(moves),
    ]
    champion = held.aliases.get("champion")
    head = f"{name} has {words.many(held.versions, 'version')}; " + (
        f"version {champion} is champion." if champion else "none is champion."
    )
    return Page(
        "Model",
        head,
        blocks,
        f"rung model show {name}",
        {"model": held, "versions": versions, "verdicts": verdicts, "evaluations": evaluations, "moves": moves},
    )


def _gates(rules: GateRules) -> Table:
    rows = [(r.gate, ", ".join(f"{k} {v}" for k, v in r.params.items()), "blocks" if r.blocking else "is told") for r in rules.rules]
    return Table(("gate", "asks for", "if broken"), rows, "Gates")


def _moves(moves: Sequence[AliasMove]) -> Table:
    rows = [
        (when(m.at), m.alias, m.previous or MISSING, m.number or "removed", m.by, m.override_reason or m.reason or MISSING) for m in moves
    ]
    return Table(("when", "alias", "from", "to", "by", "why"), rows, "Moves of aliases" if moves else "")


def main_metric(evaluations: tuple[Evaluation, ...]) -> str:
    """The metric to show first: the usual one of the task, else any; empty without evaluations."""
    names = {metric for e in evaluations for metric in e.scores}
    return next((metric for metric in _MAIN if metric in names), min(names, default=""))


def _matrix(name: str, numbers: list[int], last: dict[int, Verdict]) -> Table:
    gates = list(dict.fromkeys(gate.gate for verdict in last.values() for gate in verdict.gates))
    rows = []
    for which in numbers:
        if which in last:
            found = last[which].gates
            rows.append(
                (
                    link(f"{name}:{which}", "models", name, which),
                    *(_all_of([g for g in found if g.gate == gate]) for gate in gates),
                    _verdict(last[which]),
                )
            )
    return Table(("version", *gates, "verdict"), rows, "Gate matrix" if rows else "")


def _all_of(results: list[GateResult]) -> object:
    if not results:
        return MISSING
    broken = [r for r in results if not r.passed]
    return pill("passed") if not broken else pill(f"{len(broken)} failed", "bad" if any(r.blocking for r in broken) else "warn")


def _verdict(verdict: Verdict | None) -> object:
    return pill("no verdict", "muted") if verdict is None else pill("passed" if verdict.passed else "failed")
