"""Models: the list with the webhooks that are told of them, and one model with its gate matrix, aliases and rules."""

from __future__ import annotations

from collections.abc import Sequence

from rung.evaluation.records import Evaluation, ListEvaluations
from rung.registry.approvals import GetApprovalRule
from rung.registry.records import (
    AliasMove,
    GateResult,
    GateRules,
    GetGateRules,
    GetModel,
    ListAliasMoves,
    ListModels,
    ListVerdicts,
    ListVersions,
    Model,
    Verdict,
)
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Form, Page, Part, Table, Visit, Words
from rung.ui.charts.line import Series, line_chart
from rung.ui.markdown import first_line, rendered
from rung.ui.pages.webhooks import webhooks_table
from rung.ui.words import MISSING, joined, link, number, pill, when

_DELETED = 50
_MAIN = ("auc", "roc_auc", "rmse", "mae", "accuracy", "log_loss")
_EMPTY = 'import rung\n\nclient = rung.connect()\nclient.registry.register("churn", estimator, example=frame, label="churned")'


def models(visit: Visit) -> Page:
    """Every model."""
    held = visit.ask(ListModels())
    around = [*_deleted_models(visit), *webhooks_table(visit)]
    if not held:
        return Page(
            "Models",
            "No model is registered yet.",
            [Empty("A model version is what a run produced, numbered and immutable.", "rung model list", _EMPTY), *around],
            "rung model list",
            {"models": ()},
        )
    rows = [
        (
            link(m.name, "models", m.name),
            m.task or MISSING,
            m.versions,
            joined([pill(f"{a} → {n}", "ok") for a, n in m.aliases.items()]),
            first_line(m.description) or MISSING,
            joined([f"{key}={value[:40]}" for key, value in sorted(m.tags.items())[:6]]),
            when(m.created_at),
        )
        for m in held
    ]
    without = [m.name for m in held if "champion" not in m.aliases]
    head = f"{words.many(len(held), 'model')}; " + (f"{len(without)} without a champion." if without else "each has a champion.")
    columns = ("model", "task", "versions", "aliases", "about", "tags", "since")
    return Page("Models", head, [Table(columns, rows), *around], "rung model list", {"models": held})


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
            v.format or pill("not served", "warn"),
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
        Part("words.html", {"text": rendered(held.description)}) if held.description else Words(""),
        Table(("version", "aliases", "verdict", metric or "score", "format", "size", "registered", "by"), rows, "Versions"),
        _matrix(name, [v.number for v in versions], last),
        Charts(figures),
        _gates(rules) if rules else Words(""),
        *_around(visit, held),
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


def _around(visit: Visit, held: Model) -> list[object]:
    """Tags, the approvals it asks for, what can be done, and versions that were deleted."""
    rule = visit.find(GetApprovalRule(model=held.name))
    blocks: list[object] = []
    if held.tags:
        blocks.append(Table(("tag", "value"), [(name, value[:500]) for name, value in sorted(held.tags.items())], "Tags"))
    if rule is not None and rule.needed:
        of = f" of a {' or '.join(rule.roles)}" if rule.roles else ""
        said = f"A version needs {words.many(rule.needed, 'approval')}{of} by others than its maker before promotion and production."
        blocks.append(Words(said, "Approvals"))
    hidden = {"model": held.name}
    forms = [
        Form("/act/describe-model", "Save description", hidden, [("note", "Description", held.description)]),
        Form("/act/tag-model", "Set tag", hidden, [("key", "Tag", ""), ("value", "Value", "")]),
        Form("/act/delete-model", "Delete", hidden),
    ]
    blocks.append(Part("fold.html", {"title": "Change this model", "forms": forms}))
    gone = visit.find(ListVersions(model=held.name, deleted=True))
    rows = [
        (
            link(f"{held.name}:{v.number}", "models", held.name, v.number),
            when(v.deleted_at),
            "gone for good" if v.purged else "can be restored",
        )
        for v in (gone.items if gone else ())
    ]
    return [*blocks, Table(("deleted version", "when", ""), rows, f"Deleted versions ({len(rows)})", folded=True)] if rows else blocks


def _deleted_models(visit: Visit) -> list[object]:
    gone = visit.find(ListModels(deleted=True)) or ()
    forms = [Form("/act/restore-model", f"Restore {m.name}", {"model": m.name}) for m in gone[:_DELETED]]
    return [Part("fold.html", {"title": f"Deleted models ({len(gone)})", "forms": forms})] if gone else []


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
