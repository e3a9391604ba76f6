"""Predictions: what a deployment answered lately, and one answer with everything behind it."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from markupsafe import Markup

from rung.core.errors import Conflict, Invalid, NotFound, RungError
from rung.monitoring.records import GetLabel, Label
from rung.serving.log_records import CountPredictions, ExplainPrediction, ListRemovals, ListSinks, PredictionExplanation, QueryPredictions
from rung.serving.records import FindPrediction, GetDeployment, Prediction, TracePrediction
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Facts, Page, Part, Stats, Table, Visit, Words
from rung.ui.charts.bars import bar_chart
from rung.ui.charts.line import Series, line_chart
from rung.ui.pages.audit import lineage_graph, lineage_node
from rung.ui.words import MISSING, link, number, pill, when

_SHOWN = 50
_INPUTS = 8
_OWN = {"prediction_id", "event_time", "answered_at", "model", "version", "revision", "arm", "score"}
_DETAILS = {"latency_us", "caller", "request_id", "trace_id", "flags", "scores"}


def predictions(visit: Visit) -> Page:
    """The newest answers of a deployment, those that a condition chooses, and how many there were a day."""
    name, where = visit.path["deployment"], visit.query.get("where", "").strip()
    visit.ask(GetDeployment(deployment=name))
    counts = visit.ask(CountPredictions(deployment=name))
    problem, found = "", None
    try:
        found = visit.ask(QueryPredictions(deployment=name, where=where, limit=_SHOWN))
    except Invalid as error:
        problem = error.message
    base = words.address("deployments", name, "predictions")
    search = Part("predictions.html", {"base": base, "where": where, "problem": problem})
    if found is None or not (found.rows or where):
        empty = Empty("It has not answered yet.", f"rung predict {name} rows.csv", f'client.serving.predict("{name}", frame)')
        return Page(
            "Predictions",
            f"{name}: {problem or 'no predictions yet'}.",
            [search, *([] if problem else [empty])],
            f"rung predictions list {name}",
        )
    inputs = [column for column in found.columns if column not in _OWN | _DETAILS][:_INPUTS]
    rows = [
        (
            link(str(row["prediction_id"])[:20], "predictions", row["prediction_id"]), when(_instant(row["answered_at"])),
            when(_instant(row["event_time"])), number(row["score"]),
            link(f"{row['model']}:{row['version']}", "models", row["model"], row["version"]), pill(row["arm"]),
            f"{(row['latency_us'] or 0) / 1000:.2f} ms", ", ".join(row["flags"] or ()) or MISSING, *(_cell(row[column]) for column in inputs),
        )
        for row in found.rows
    ]  # fmt: skip
    logged, answered = sum(count.logged for count in counts), sum(count.answered for count in counts)
    days: dict[str, int] = defaultdict(int)
    for count in counts:
        days[count.day] += count.answered
    stats = Stats(
        [
            ("rows answered", number(answered), "accent"), ("of them logged", number(logged), ""),
            ("left out by the share", number(sum(count.unlogged for count in counts)), ""),
            ("shed", number(shed := sum(count.shed for count in counts)), "bad" if shed else ""),
            ("failed", number(errors := sum(count.errors for count in counts)), "bad" if errors else ""),
        ]
    )  # fmt: skip
    columns = ("prediction", "answered", "event time", "score", "version", "arm", "took", "flags", *inputs)
    blocks: list[object] = [stats, search, Table(columns, rows, note="There are more." if found.more else "", tall=True)]
    if len(days) > 1:
        points = tuple((_seconds(day), float(rows_)) for day, rows_ in sorted(days.items()))
        blocks.append(Charts([line_chart("Rows answered a day", [Series("rows", points)], y_label="rows", time=True)]))
    blocks += _kept(visit, name)
    head = f"{words.many(len(rows), 'prediction')} of {name}{' that meet the condition' if where else ''}, newest first; it answered {answered:,} rows in all."
    return Page("Predictions", head, blocks, f"rung predictions list {name}", {"predictions": found, "counts": counts})


def prediction(visit: Visit) -> Page:
    """One prediction with its inputs, back to rows, code, environment and person; with ``?explain`` what each input contributed."""
    held = visit.ask(FindPrediction(id=visit.path["id"]))
    trace = visit.ask(TracePrediction(id=held.id, deployment=held.deployment))
    label = visit.find(GetLabel(deployment=held.deployment, prediction=held.id))
    told, why = _explained(visit, held) if "explain" in visit.query else (None, "")
    facts: list[tuple[str, object]] = [
        ("score", number(held.score)),
        ("label", _labelled(label)),
        ("deployment", link(f"{held.deployment}, revision {held.revision}", "deployments", held.deployment)),
        ("version", link(f"{held.model}:{held.number}", "models", held.model, held.number)),
        ("arm", pill(held.arm)), ("event time", when(held.event_time)), ("answered", when(held.answered_at)),
        ("took", f"{number(held.latency_ms, 3)}\u00a0ms"), ("caller", held.caller or MISSING),
        *([("flags", ", ".join(held.flags))] if held.flags else []), *([("request", held.request_id)] if held.request_id else []),
        *([("trace", held.trace_id)] if held.trace_id else []),
        *([("all scores", ", ".join(number(score) for score in held.scores))] if held.scores else []),
    ]  # fmt: skip
    shares = told.contributions if told else {}
    inputs = [(key, _cell(value), *([number(shares.get(key))] if told else [])) for key, value in held.inputs.items()]
    blocks: list[object] = [Facts(facts, wide=True), Table(("input", "value", *(["contributed"] if told else [])), inputs, "Inputs")]
    if told:
        largest = sorted(shares.items(), key=lambda item: -abs(item[1]))[:12]
        title = f"What the inputs contributed, beside {number(told.base)} for the mean row"
        blocks.append(
            Charts([bar_chart(title, [(name, abs(value)) for name, value in largest], label="absolute contribution")], "Explanation")
        )
    else:
        again = Markup('<a href="{}?explain=1">What did each input contribute?</a>').format(words.address("predictions", held.id))
        blocks.append(Words(why or again))
    edges = [(lineage_node(e.source), e.relation.replace("_", " "), lineage_node(e.target)) for e in trace.edges]
    blocks += [Charts([lineage_graph("What this prediction came from", trace)], "Lineage"), Table(("from", "", "to"), edges)]
    truth = "no label has arrived yet" if label is None else f"its label is {_cell(label.label)}"
    head = f"{held.model}:{held.number} answered {number(held.score)} for {held.deployment}; {truth}."
    return Page(
        "Prediction",
        head,
        blocks,
        f"rung predictions show {held.id}",
        {"prediction": held, "label": label, "trace": trace, "explanation": told},
    )


def _labelled(label: Label | None) -> object:
    """The truth as far as it has arrived, and when it did."""
    if label is None:
        return "not arrived yet"
    return words.joined([_cell(label.label), words.joined(["arrived", when(label.arrived_at)])])


def _explained(visit: Visit, held: Prediction) -> tuple[PredictionExplanation | None, str]:
    try:
        return visit.ask(ExplainPrediction(id=held.id, deployment=held.deployment)), ""
    except (NotFound, Conflict, Invalid) as error:
        return None, _said(error)


def _said(error: RungError) -> str:
    return f"{error.message} {error.hint or ''}".strip()


def _kept(visit: Visit, name: str) -> list[object]:
    """Where answers are told besides, and what was taken out of the log."""
    sinks = [sink for sink in visit.find(ListSinks()) or () if sink.deployment == name]
    blocks: list[object] = []
    if sinks:
        rows = [
            (
                sink.address,
                number(sink.sent),
                words.size(sink.waiting_bytes),
                pill("failed" if sink.failures else "ok"),
                sink.error or MISSING,
            )
            for sink in sinks
        ]
        blocks.append(Table(("sink", "told", "waiting", "state", "why"), rows, "Told besides"))
    removals = visit.find(ListRemovals(deployment=name)) or ()
    if removals:
        gone = [(when(r.at), r.cause, number(r.rows), r.column or MISSING, r.by, r.reason or MISSING) for r in removals]
        blocks.append(Table(("when", "cause", "rows", "column", "by", "why"), gone, "Taken out of the log", folded=True))
    return blocks


def _instant(value: object) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value if isinstance(value, datetime) else None


def _cell(value: object) -> str:
    if value is None:
        return MISSING
    return number(value) if isinstance(value, float) else str(value)[:60]


def _seconds(day: str) -> float:
    return datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()
