"""The end of the story: what the year earned, cost and proved, each figure from a query on the platform."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl
from features import INPUTS
from pipelines import fit
from server import settle


def ending(story: Any, deployment: str, model: str, end: datetime, fault: tuple[datetime, datetime]) -> dict[str, Any]:
    """Every figure of the end, told as it is found."""
    settle(story.client)
    return {
        "retrainings": retrainings(story, model, end),
        "planted_fault": planted_fault(story, fault),
        "roi": roi(story, model, deployment, end),
        "rehearsal": rehearsal(story, model),
        "trace": trace(story, deployment),
        "reproduction": reproduction(story, model, deployment),
        "maturity": maturity(story),
    }


def retrainings(story: Any, model: str, end: datetime) -> list[dict[str, Any]]:
    """Each decided retraining with its cause, expected gain and what it really gained."""
    client, found = story.client, []
    for decision in reversed(client.value.decisions(action="retrain")):
        realised = None
        with story.timed("realised gains"):
            try:
                realised = client.value.realise(decision.id, as_of=end + timedelta(days=3))
            except Exception as error:
                story.teller.say(f"Decision {decision.number} has no realised gain: {error}")
        expected = decision.expected_gain
        found.append(
            {
                "decision": decision.number,
                "incident": decision.incident,
                "as_of": decision.as_of,
                "cause": decision.cause,
                "action": decision.action,
                "reasons": list(decision.reasons),
                "expected_gain": None if expected is None else [expected.low, expected.estimate, expected.high],
                "cost": decision.cost,
                "realised_gain": None if realised is None else [realised.gain.low, realised.gain.estimate, realised.gain.high],
                "version": None if realised is None else realised.version,
                "currency": decision.currency,
            }
        )
    rows = [[f["decision"], f"{f['as_of']:%d %b}", f["cause"], _money(f["expected_gain"]), _money(f["realised_gain"])] for f in found]
    story.teller.table("Retrainings", ["decision", "as of", "cause", "expected gain", "realised gain"], rows)
    return found


def planted_fault(story: Any, fault: tuple[datetime, datetime]) -> dict[str, Any]:
    """What became of the week of temperatures in °C."""
    client, (start, end) = story.client, fault
    for incident in client.monitoring.incidents():
        if incident.cause == "data_break" and incident.start < end and incident.end > start:
            diagnosis = client.monitoring.diagnosis(incident.id)
            decisions = [d for d in client.value.decisions() if d.incident == incident.id]
            finding = diagnosis.findings[0]
            story.teller.say(f"The planted fault: {diagnosis.summary}")
            return {
                "incident": incident.number,
                "cause": diagnosis.cause,
                "columns": list(finding.columns),
                "since": finding.since,
                "evidence": [fact.statement for fact in finding.facts],
                "action": decisions[-1].action if decisions else None,
                "retrained": any(d.action == "retrain" for d in decisions),
            }
    return {"cause": None, "action": None, "retrained": False}


def roi(story: Any, model: str, deployment: str, end: datetime) -> dict[str, Any]:
    """Money earned and spent."""
    client = story.client
    with story.timed("value report"):
        client.value.book_costs(model, as_of=end)
        report = client.value.report(model, deployment=deployment, as_of=end + timedelta(days=3))
    rows = [
        [m.month, m.predictions, m.acted, f"{m.gross:,.0f}", f"{m.incremental.estimate:,.0f}", f"{m.cost:,.2f}", f"{m.net:,.0f}"]
        for m in report.months
    ]
    story.teller.table(
        f"Value in {report.currency}, against {report.basis}", ["month", "flights", "warned", "gross", "incremental", "cost", "net"], rows
    )
    return {
        "currency": report.currency,
        "basis": report.basis,
        "basis_note": report.basis_note,
        "gross": round(report.gross, 2),
        "incremental": round(report.incremental.estimate, 2),
        "cost": round(report.cost, 2),
        "net": round(report.net.estimate, 2),
        "net_interval": [round(report.net.low, 2), round(report.net.high, 2)],
        "roi": report.roi,
        "value_per_1000": report.value_per_1000,
        "report": report.number,
    }


def rehearsal(story: Any, model: str) -> dict[str, Any]:
    """History replayed under five policies."""
    client = story.client
    frames = [client.data.frame("features", v.number) for v in reversed(client.data.versions("features").items)]
    truth = pl.concat(
        [client.data.frame("arrivals", v.number, columns=["flight_id", "late"]) for v in client.data.versions("arrivals").items]
    )
    history = (
        pl.concat(frames)
        .unique("flight_id", keep="last", maintain_order=True)
        .join(truth, on="flight_id")
        .select("departs", *INPUTS, "late")
        .sort("departs")
    )
    causes = {f"{i.start:%Y-%m}": i.cause for i in client.monitoring.incidents() if i.cause}
    with story.timed("rehearsal"):
        found = client.value.rehearse(
            model, history, lambda rows: fit.function(rows, max_iter=60), time_column="departs", label="late", inputs=list(INPUTS),
            every="1mo", first=2, delay=0, causes=causes, threshold=0.3, title="flights of 2013",
        )  # fmt: skip
    rows = [[o.title, o.retrainings, f"{o.gross:,.0f}", f"{o.cost:,.0f}", f"{o.net:,.0f}"] for o in found.outcomes]
    story.teller.table(f"Rehearsal in {found.currency}", ["policy", "retrainings", "gross", "cost", "net"], rows)
    return {
        "best": found.best,
        "number": found.number,
        "outcomes": [
            {"policy": o.policy, "retrainings": o.retrainings, "gross": o.gross, "cost": o.cost, "net": o.net} for o in found.outcomes
        ],
    }


def trace(story: Any, deployment: str) -> dict[str, Any]:
    """One prediction walked back to rows, code, environment and approver."""
    client = story.client
    newest = client.serving.predictions(deployment).tail(1).row(0, named=True)
    graph = client.serving.trace(newest["prediction_id"], deployment)
    kinds: dict[str, list[str]] = {}
    for node in graph.nodes:
        kinds.setdefault(node.kind, []).append(node.id)
    story.teller.say(
        f"Prediction {newest['prediction_id']} came from "
        + ", ".join(f"{len(ids)} {kind}" for kind, ids in kinds.items() if kind != "prediction")
    )
    return {
        "prediction": newest["prediction_id"],
        "score": newest["score"],
        "version": newest["version"],
        "nodes": kinds,
        "edges": len(graph.edges),
    }


def reproduction(story: Any, model: str, deployment: str) -> dict[str, Any]:
    """The training run of the deployed version, executed again."""
    client = story.client
    stable = client.serving.get(deployment).stable
    run = client.registry.version(model, stable.number).pipeline_run_id
    with story.timed("reproduction"):
        found = client.pipelines.reproduce(run)
    story.teller.say(
        f"Version {stable.number} reproduced: {found.likeness}; "
        + ", ".join(f"{c.step}.{c.output} {c.likeness}" for c in found.comparisons)
    )
    return {
        "version": stable.number,
        "run": run,
        "likeness": found.likeness,
        "outputs": {f"{c.step}.{c.output}": c.likeness for c in found.comparisons},
    }


def maturity(story: Any) -> dict[str, Any]:
    """The levels that the records prove, and the next steps."""
    found = story.client.maturity.assess()
    levels = {scale.scale: scale.level for scale in found.scales}
    sentence = "; ".join(scale.sentence for scale in found.scales)
    for scale in found.scales:
        story.teller.say(f"{scale.title}: {scale.sentence}")
    for item in found.steps[:3]:
        story.teller.say(f"next: {item.text} — {item.command}{' (planned)' if item.planned else ''}")
    steps = [
        {"criteria": list(item.criteria), "text": item.text, "command": item.command, "planned": item.planned} for item in found.steps[:3]
    ]
    return {"levels": levels, "reached": {scale.scale: scale.reached for scale in found.scales}, "sentence": sentence, "next": steps}


def _money(interval: list[float] | None) -> str:
    return "–" if interval is None else f"{interval[1]:,.0f} ({interval[0]:,.0f} to {interval[2]:,.0f})"
