"""Models: the list, one model with its gate matrix and aliases, one version with evaluations by slice and lineage."""

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


def version(visit: Visit) -> Page:
    """One model version."""
    name, which = visit.path["model"], visit.number("number")
    held = visit.ask(GetVersion(model=name, number=which))
    verdicts = visit.find(ListVerdicts(model=name, number=held.number)) or ()
    evaluations = visit.find(ListEvaluations(model=name, number=held.number)) or ()
    blocks: list[object] = []
    if evaluations:
        blocks.append(Stats([(metric, number(value), "") for metric, value in _first(evaluations)[:8]]))
    if verdicts:
        rows = [_gate(gate) for gate in verdicts[0].gates]
        blocks.append(
            Table(
                ("", "gate", "metric", "slice", "measured", "limit", "interval", "why"),
                rows,
                "Newest verdict",
                note=" ".join(verdicts[0].reasons),
            )
        )
    blocks += _slices(evaluations)
    blocks.append(
        Form(
            "/act/promote",
            f"Promote {name}:{held.number} to champion",
            {"model": name, "number": str(held.number)},
            [("reason", "Reason", "")],
        )
    )
    facts = [
        ("aliases", joined([pill(a, "ok") for a in held.aliases])),
        ("task", f"{held.task}, label {held.label}"),
        ("threshold", number(held.threshold)),
        ("run", link(held.run_id[:8], "runs", held.run_id) if held.run_id else MISSING),
        ("pipeline run", link(held.pipeline_run_id[:8], "pipeline-runs", held.pipeline_run_id) if held.pipeline_run_id else MISSING),
        ("datasets", joined([link(f"{d.dataset}:{d.number} ({d.role})", "datasets", d.dataset, d.number) for d in held.datasets])),
        ("digest", words.digest(held.digest)),
        ("lock", words.digest(held.lock)),
        ("commit", words.digest(held.git_commit)),
        ("format", f"{held.format}, {words.size(held.size_bytes)}"),
        ("registered", when(held.created_at)),
        ("by", held.created_by),
        ("lineage", link("what it came from", "lineage", "model_version", f"{name}:{held.number}")),
    ]
    inputs = [(f.name, f.dtype, "may be null" if f.nullable else "never null") for f in held.signature.inputs]
    blocks += [Facts(facts, "About this version"), Table(("input", "type", "nulls"), inputs, "Signature")]
    state = ("passed its gates" if verdicts[0].passed else "was refused by its gates") if verdicts else "has met no gate yet"
    data = {"version": held, "verdicts": verdicts, "evaluations": evaluations}
    return Page("Model version", f"{name}:{held.number} {state}.", blocks, f"rung model show {name} {held.number}", data)


def main_metric(evaluations: tuple[Evaluation, ...]) -> str:
    """The metric to show first: the usual one of the task, else any; empty without evaluations."""
    names = {metric for e in evaluations for metric in e.scores}
    return next((metric for metric in _MAIN if metric in names), min(names, default=""))


def _first(evaluations: tuple[Evaluation, ...]) -> list[tuple[str, float]]:
    main = main_metric(evaluations)
    return sorted(evaluations[0].scores.items(), key=lambda pair: pair[0] != main)


def _slices(evaluations: tuple[Evaluation, ...]) -> list[object]:
    if not evaluations:
        return []
    newest = evaluations[0]
    metric = main_metric(evaluations)
    figures = []
    for column in dict.fromkeys(s.column for s in newest.slices):
        items = [(s.slice, s.scores[metric]) for s in newest.slices if s.column == column and metric in s.scores]
        if items:
            figures.append(
                bar_chart(
                    f"{metric} by {column}",
                    items[:20],
                    label=metric,
                    limits=[(newest.scores[metric], "all rows")] if metric in newest.scores else (),
                )
            )
    rows = [
        (
            link(f"{e.dataset}:{e.dataset_number}", "datasets", e.dataset, e.dataset_number),
            number(e.rows),
            *(number(v) for v in list(e.scores.values())[:6]),
            when(e.created_at),
        )
        for e in evaluations
        if list(e.scores) == list(newest.scores)
    ]
    return [
        Charts(figures, f"Slices of {newest.dataset}:{newest.dataset_number}" if figures else ""),
        Table(("dataset", "rows", *list(newest.scores)[:6], "when"), rows, "Evaluations"),
    ]


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


def _gate(g: GateResult) -> tuple[object, ...]:
    interval = f"{number(g.low)} … {number(g.high)}" if g.low is not None and g.high is not None else MISSING
    return (
        pill("passed" if g.passed else "failed", None if g.passed or g.blocking else "warn"),
        g.gate,
        g.metric or MISSING,
        g.slice or "all",
        number(g.value),
        number(g.limit),
        interval,
        g.reason,
    )


def _verdict(verdict: Verdict | None) -> object:
    return pill("no verdict", "muted") if verdict is None else pill("passed" if verdict.passed else "failed")
