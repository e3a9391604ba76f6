"""Incidents: what happened, why by evidence, and what was decided with which benefit and cost."""

from __future__ import annotations

from rung.monitoring.records import Diagnosis, GetDiagnosis, GetIncident, ListAlerts, ListIncidents
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Facts, Form, Page, Table, Visit, Words
from rung.ui.charts.bars import bar_chart
from rung.ui.words import MISSING, day, link, money, number, pill, when
from rung.value.records import Decision, GetDecision, Interval, ListDecisions, ListRealised


def incidents(visit: Visit) -> Page:
    """Every incident, newest first, and the last decisions."""
    held = visit.ask(ListIncidents())
    decided = visit.find(ListDecisions(limit=30)) or ()
    if not held and not decided:
        return Page(
            "Incidents",
            "No incident so far.",
            [
                Empty(
                    "An incident opens when a monitor crosses its line, and is diagnosed before anything is retrained.",
                    "rung incident list",
                )
            ],
            "rung incident list",
            {"incidents": ()},
        )
    rows = [
        (
            link(f"#{i.number}", "incidents", i.number),
            pill(i.status),
            i.title,
            link(i.deployment, "deployments", i.deployment),
            _cause(i.cause),
            day(i.start),
            i.alerts,
            when(i.opened_at),
        )
        for i in held
    ]
    open_ones = sum(i.status != "closed" for i in held)
    blocks = [
        Table(("", "state", "what", "deployment", "cause", "since", "alerts", "opened"), rows),
        Table(
            ("decision", "action", "deployment", "cause", "expected gain", "cost", "as of"),
            [_decision_row(d) for d in decided],
            "Decisions" if decided else "",
        ),
    ]
    return Page(
        "Incidents",
        f"{open_ones} of {words.many(len(held), 'incident')} open.",
        blocks,
        "rung incident list",
        {"incidents": held, "decisions": decided},
        live=True,
    )


def incident(visit: Visit) -> Page:
    """One incident."""
    held = visit.ask(GetIncident(incident=visit.path["incident"]))
    diagnosis = visit.find(GetDiagnosis(diagnosis=held.id))
    chosen = visit.find(GetDecision(decision=held.decision)) if held.decision else None
    alerts = visit.find(ListAlerts(incident=held.id)) or ()
    facts = [
        ("state", pill(held.status)),
        ("deployment", link(held.deployment, "deployments", held.deployment)),
        ("monitor", link("its windows", "monitors", held.deployment)),
        ("rule", held.rule),
        ("columns", ", ".join(held.columns) or MISSING),
        ("windows", f"{day(held.start)} – {day(held.end)}"),
        ("opened", when(held.opened_at)),
        ("closed", when(held.closed_at)),
        ("how it ended", held.resolution or MISSING),
        ("lineage", link("what followed", "lineage", "incident", held.id)),
    ]
    blocks: list[object] = [*_diagnosed(diagnosis), *(_decided(chosen) if chosen else [])]
    blocks.append(
        Table(
            ("window", "rule", "message"),
            [(f"{day(a.start)} – {day(a.end)}", a.rule, a.message) for a in alerts],
            "Alerts" if alerts else "",
        )
    )
    blocks.append(Table(("when", "by", "note"), [(when(n.at), n.principal, n.text) for n in held.notes], "Notes" if held.notes else ""))
    blocks.append(Facts(facts, "About this incident"))
    if held.status != "closed":
        blocks.append(Form("/act/close-incident", "Close incident", {"incident": held.id}, [("resolution", "How it ended", "")]))
    head = diagnosis.summary if diagnosis else f"{held.title}: not diagnosed yet."
    data = {"incident": held, "diagnosis": diagnosis, "decision": chosen, "alerts": alerts}
    return Page(f"Incident #{held.number}", head, blocks, f"rung incident show {held.number}", data)


def decision(visit: Visit) -> Page:
    """One decision with what came of it."""
    held = visit.ask(GetDecision(decision=visit.path["decision"]))
    realised = visit.find(ListRealised(decision=held.id)) or ()
    rows = [
        (
            f"version {r.replaced} → {r.version}",
            f"{r.rows:,}",
            _interval(r.gain, held.currency),
            f"{day(r.start)} – {day(r.end)}",
            pill("better" if r.improved else "no better", "ok" if r.improved else "warn"),
        )
        for r in realised
    ]
    facts = [
        ("deployment", link(held.deployment, "deployments", held.deployment)),
        ("serving version", link(f"{held.model}:{held.version}", "models", held.model, held.version)),
        ("incident", link("the incident", "incidents", held.incident) if held.incident else MISSING),
        ("policy", f"{held.policy}" + (f" (choice {held.policy_number})" if held.policy_number else "")),
        ("as of", when(held.as_of)),
        ("by", held.created_by),
        ("lineage", link("what it started", "lineage", "decision", held.id)),
    ]
    blocks = [
        *_decided(held, linked=False),
        Table(("versions", "rows", "gain", "over", ""), rows, "What it really brought" if rows else ""),
        Facts(facts, "About this decision"),
    ]
    head = f"Decision #{held.number}: {held.action.replace('_', ' ')}. {held.reasons[0] if held.reasons else ''}"
    return Page("Decision", head, blocks, f"rung retrain show {held.number}", {"decision": held, "realised": realised})


def _diagnosed(diagnosis: Diagnosis | None) -> list[object]:
    if diagnosis is None:
        return []
    ranked = [(f"{place}. {f.cause.replace('_', ' ')}", f.strength) for place, f in enumerate(diagnosis.findings, 1)]
    blocks: list[object] = [
        Charts(
            [bar_chart("How strongly the evidence speaks for each cause", ranked, label="strength, 0 to 1")] if ranked else [], "Diagnosis"
        )
    ]
    for place, finding in enumerate(diagnosis.findings, 1):
        facts = [(fact.statement, fact.column or MISSING, number(fact.value), number(fact.line)) for fact in finding.facts]
        blocks.append(
            Words(
                finding.summary,
                f"{place}. {finding.cause.replace('_', ' ').capitalize()}: "
                + ("retraining helps" if finding.curable else "retraining does not help"),
            )
        )
        blocks.append(Table(("evidence", "column", "measured", "line"), facts, note=f"Remedy: {finding.remedy}" if finding.remedy else ""))
    return blocks


def _decided(held: Decision, *, linked: bool = True) -> list[object]:
    bars, limits = [], []
    if held.expected_gain:
        bars += [("expected gain", held.expected_gain.estimate), ("gain, lower bound", held.expected_gain.low)]
    if held.cost is not None:
        bars.append(("cost", held.cost))
        limits.append((held.cost * held.margin, f"needed: {held.margin:g} × cost"))
    figures = [bar_chart("Benefit against cost", bars, label=held.currency, show=money, limits=limits)] if bars else []
    parts = [(name, money(amount, held.currency)) for name, amount in held.cost_parts.items()]
    sentence = words.joined(
        [pill(held.action.replace("_", " "), "accent"), link(f"decision #{held.number}", "decisions", held.number)]
        if linked
        else [pill(held.action, "accent")]
    )
    return [
        Words(sentence, "Decision"),
        Table(("reason",), [(reason,) for reason in held.reasons]),
        Charts(figures),
        Table(("cost of", "amount"), parts, note=held.gain_basis),
    ]


def _decision_row(d: Decision) -> tuple[object, ...]:
    return (
        link(f"#{d.number}", "decisions", d.number),
        pill(d.action, "accent"),
        link(d.deployment, "deployments", d.deployment),
        _cause(d.cause),
        _interval(d.expected_gain, d.currency),
        money(d.cost, d.currency),
        day(d.as_of),
    )


def _interval(value: Interval | None, currency: str) -> str:
    return f"{money(value.estimate, currency)} ({money(value.low)} … {money(value.high)})" if value else MISSING


def _cause(cause: str | None) -> str:
    return cause.replace("_", " ") if cause else "not known yet"
