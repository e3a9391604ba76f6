"""Value: what each model earned and cost, month by month, and what other retraining policies would have done."""

from __future__ import annotations

from datetime import UTC, datetime

from rung.registry.records import ListModels
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Facts, Page, Stats, Table, Visit
from rung.ui.charts.bars import bar_chart, waterfall
from rung.ui.charts.line import Series, line_chart
from rung.ui.charts.svg import Figure
from rung.ui.words import MISSING, day, link, money, number, pill, share
from rung.value.records import GetGoal, GetMatrix, GetRehearsal, GetReport, GetRetrainingPolicy, ListCosts, Rehearsal, ValueReport

_EMPTY = 'client.value.set_matrix("churn", tp=40, fp=-5)\nclient.value.report("churn")'


def values(visit: Visit) -> Page:
    """Every model with what it is worth."""
    models = visit.ask(ListModels())
    reports = {m.name: visit.find(GetReport(model=m.name)) for m in models}
    known = [r for r in reports.values() if r]
    rows = [(link(m.name, "value", m.name), *_summary(reports[m.name])) for m in models]
    if not known:
        return Page(
            "Value",
            "No model has a value report yet.",
            [
                Table(("model", "net", "interval", "ROI", "months", "basis"), rows),
                Empty("Say what each outcome is worth, then ask for a report.", "rung value report churn", _EMPTY),
            ],
            "rung value show",
            {"reports": ()},
        )
    losing = sum(r.net.estimate < 0 for r in known)
    return Page(
        "Value",
        f"{losing} of {words.many(len(known), 'model')} lose value.",
        [Table(("model", "net", "interval", "ROI", "months", "basis"), rows)],
        "rung value show",
        {"reports": known},
    )


def value(visit: Visit) -> Page:
    """One model's value."""
    name = visit.path["model"]
    report = visit.find(GetReport(model=name))
    rehearsal = visit.find(GetRehearsal(model=name))
    matrix, goal, policy = visit.find(GetMatrix(model=name)), visit.find(GetGoal(model=name)), visit.find(GetRetrainingPolicy(model=name))
    costs = visit.find(ListCosts(model=name)) or ()
    blocks: list[object] = []
    head = f"{name} has no value report yet."
    if report:
        low, high = money(report.net.low), money(report.net.high, report.currency)
        head = f"{name} earned {money(report.net.estimate, report.currency)} net from {day(report.start)} to {day(report.end)} (95 %: {low} to {high})."
        blocks += _reported(report)
    else:
        blocks.append(Empty("Say what each outcome is worth, then ask for a report.", f"rung value report {name}", _EMPTY))
    if rehearsal:
        blocks += _rehearsed(rehearsal)
    facts: list[tuple[str, object]] = []
    if goal:
        facts += [("goal", goal.goal), ("judged by", goal.kpi), ("owner", goal.owner)]
    if matrix:
        outcome = {"tp": matrix.tp, "fp": matrix.fp, "fn": matrix.fn, "tn": matrix.tn, "over": matrix.over, "under": matrix.under}
        facts.append(
            (f"value matrix {matrix.number}", ", ".join(f"{k} {money(v)}" for k, v in outcome.items() if v) + f" {matrix.currency}")
        )
    if policy:
        facts += [("retraining policy", f"{policy.policy}, margin {policy.settings.margin:g}"), ("because", policy.reason)]
    blocks.append(Facts(facts, "What it is held to" if facts else ""))
    entries = [(day(c.spent_at), c.kind, money(c.amount, c.currency), f"{number(c.quantity)} {c.unit}", c.basis) for c in costs[-100:]]
    blocks.append(Table(("day", "kind", "amount", "quantity", "basis"), entries[::-1], "Cost ledger" if entries else ""))
    return Page(
        "Value",
        head,
        blocks,
        f"rung value report {name}",
        {"report": report, "rehearsal": rehearsal, "matrix": matrix, "goal": goal, "policy": policy},
    )


def _reported(report: ValueReport) -> list[object]:
    unit = report.currency
    tone = "ok" if report.net.low > 0 else "bad" if report.net.high < 0 else "warn"
    stats = Stats(
        [
            ("net", money(report.net.estimate, unit), tone),
            ("baseline", report.basis.replace("_", " "), ""),
            ("ROI", share(report.roi), ""),
            ("per 1000 predictions", money(report.value_per_1000, unit), ""),
            ("matured", share(report.matured_share), ""),
            ("payback", day(report.payback_day), ""),
        ]
    )
    steps = [
        ("gross value", report.gross),
        ("baseline", -report.baseline),
        *((name, -amount) for name, amount in report.costs.items() if amount),
    ]
    figures: list[Figure] = [waterfall(f"From gross value to net, in {unit}", steps, "net", show=money, label=unit)]
    if len(report.months) > 1:
        total, points = 0.0, []
        for m in report.months:
            total += m.net
            points.append((datetime.fromisoformat(f"{m.month[:7]}-01").replace(tzinfo=UTC).timestamp(), total))
        figures.append(bar_chart("Net value by month", [(m.month, m.net) for m in report.months], label=unit, show=money))
        figures.append(line_chart("Cumulative net value", [Series("net", tuple(points))], y_label=unit, time=True))
    rows = [
        (
            m.month,
            number(m.predictions),
            number(m.acted),
            share(m.matured_share),
            money(m.gross),
            money(m.baseline),
            money(m.cost),
            money(m.net),
            f"{money(m.incremental.low)} … {money(m.incremental.high)}",
        )
        for m in report.months
    ]
    basis = f"Basis: {report.basis.replace('_', ' ')}. {report.basis_note} {' '.join(report.notes)}"
    return [
        stats,
        Charts(figures),
        Table(
            ("month", "predictions", "acted on", "matured", "gross", "baseline", "cost", "net", "incremental, 95 %"),
            rows,
            f"Months, in {unit}",
            note=basis,
        ),
        *_held_out(report),
    ]


def _held_out(report: ValueReport) -> list[object]:
    """Treated decisions beside those held out, wherever a holdout ran."""
    held = report.holdout
    if held is None:
        return []
    rows = [
        ("treated", f"{held.treated:,}", f"{held.treated_entities:,}", money(held.treated_value)),
        ("held out", f"{held.held:,}", f"{held.held_entities:,}", money(held.held_value)),
    ]
    gap = held.difference
    said = f"A treated decision earned {money(gap.estimate)} more ({money(gap.low)} … {money(gap.high)}, 95 %). " if gap else ""
    title = "Baseline: holdout" if held.usable else "Holdout, not the baseline"
    columns = ("decisions", "with labels", f"of {held.by}", f"{report.currency} each")
    return [Table(columns, rows, title, note=said + held.note)]


def _rehearsed(held: Rehearsal) -> list[object]:
    figure = bar_chart(
        f"Net value under each policy, in {held.currency}",
        [(o.title or o.policy, o.net) for o in held.outcomes],
        label=held.currency,
        show=money,
    )
    rows = [
        (
            o.title or o.policy,
            pill("best", "ok") if o.policy == held.best else "",
            o.retrainings,
            money(o.gross),
            money(o.cost),
            money(o.net),
            f"{money(o.advantage.estimate)} ({money(o.advantage.low)} … {money(o.advantage.high)})" if o.advantage else MISSING,
        )
        for o in held.outcomes
    ]
    note = f"Rehearsal #{held.number}: {len(held.periods)} periods, {held.trainings} trainings. {held.basis}"
    return [
        Charts([figure], "Rehearsal of retraining policies"),
        Table(("policy", "", "retrainings", "gross", "cost", "net", "advantage, 95 %"), rows, note=note),
    ]


def _summary(report: ValueReport | None) -> tuple[object, ...]:
    if report is None:
        return MISSING, MISSING, MISSING, MISSING, "no report yet"
    interval = f"{money(report.net.low)} … {money(report.net.high)}"
    return money(report.net.estimate, report.currency), interval, share(report.roi), len(report.months), report.basis.replace("_", " ")
