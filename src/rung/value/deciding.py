"""Gathering the evidence of a decision: incident and diagnosis, mature labels, money, cost, and what was decided before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

import polars as pl

from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.monitoring.records import (
    Diagnosis,
    GetDiagnosis,
    GetIncident,
    GetReport,
    Incident,
    ListIncidents,
    ListMonitors,
    Monitor,
    MonitorReport,
)
from rung.monitoring.sources import ask, model_version, own_scores
from rung.pipelines.records import ListPipelineRuns
from rung.registry.records import ListVersions, ModelVersion
from rung.serving.records import Deployment, GetDeployment
from rung.storage.scope import Scope
from rung.value import probing, rules
from rung.value.measuring import served
from rung.value.policy import DATA_FAULTS, DEFAULT_POLICY, propose
from rung.value.records import Decide, Decision, Evidence, PolicySettings, RetrainingPolicy, ValueMatrix
from rung.value.store import ValueStore

_LOOK_BACK = timedelta(days=56)


@dataclass(frozen=True)
class Case:
    """What a decision is about, looked up before anything is computed."""

    deployment: Deployment
    version: ModelVersion
    incident: Incident | None
    diagnosis: Diagnosis | None
    monitor: Monitor | None
    report: MonitorReport | None
    matrix: ValueMatrix | None
    policy: RetrainingPolicy | None
    earlier: tuple[Decision, ...]
    open_fault: bool
    training_cpu_s: float | None
    as_of: datetime


def look_up(request: Decide, scope: Scope) -> Case:
    """The case. Raises Invalid, NotFound, Conflict when nothing is deployed or the incident has no diagnosis."""
    incident = ask(scope, GetIncident(incident=request.incident)) if request.incident else None
    name = incident.deployment if incident else request.deployment
    if name is None:
        raise Invalid("A decision needs an incident or a deployment.", code="value.no_subject", hint="Name one of them.")
    diagnosis = _diagnosis(scope, incident)
    deployment = ask(scope, GetDeployment(deployment=name))
    route = deployment.stable
    if route is None:
        raise Conflict(f"{name!r} serves no version.", code="value.nothing_served", hint="Deploy one first.")
    monitor = next((held for held in ask(scope, ListMonitors()) if held.deployment == name), None)
    others = ask(scope, ListIncidents(deployment=name))
    fault = any(item.cause in DATA_FAULTS and item.status != "closed" for item in others if incident is None or item.id != incident.id)
    as_of = request.as_of or (diagnosis.as_of if diagnosis else scope.now)

    def held(inside: Scope) -> tuple[ValueMatrix | None, RetrainingPolicy | None, tuple[Decision, ...]]:
        store = ValueStore(inside.connection, inside.project)
        return store.find(ValueMatrix, route.model), store.find(RetrainingPolicy, route.model), store.decisions(model=route.model)

    matrix, policy, earlier = scope.read(held)
    return Case(
        deployment=deployment,
        version=model_version(scope, route.model, route.number),
        incident=incident,
        diagnosis=diagnosis,
        monitor=monitor,
        report=ask(scope, GetReport(deployment=name)) if monitor else None,
        matrix=matrix,
        policy=policy,
        earlier=tuple(item for item in earlier if item.as_of <= as_of),
        open_fault=fault,
        training_cpu_s=_training_cpu(scope, route.model),
        as_of=as_of,
    )


def _diagnosis(scope: Scope, incident: Incident | None) -> Diagnosis | None:
    if incident is None:
        return None
    try:
        return ask(scope, GetDiagnosis(diagnosis=incident.id))
    except NotFound:
        raise Conflict(
            f"Incident {incident.number} has no diagnosis yet.",
            code="value.not_diagnosed",
            hint=f"rung incident diagnose {incident.number}",
        ) from None


def _training_cpu(scope: Scope, model: str) -> float | None:
    made = {version.pipeline_run_id for version in ask(scope, ListVersions(model=model, limit=1000)).items}
    spent = [run.cpu_s for run in ask(scope, ListPipelineRuns(limit=1000)).items if run.id in made]
    return median(spent) if spent else None


def decided(request: Decide, scope: Scope, case: Case) -> Decision:
    """The decision, not kept yet."""
    settings = case.policy.settings if case.policy else PolicySettings()
    name = case.policy.policy if case.policy else DEFAULT_POLICY
    evidence = _evidence(request, scope, case, settings)
    proposal = propose(name, evidence, settings)
    reasons = (
        proposal.reasons
        if case.policy
        else (*proposal.reasons, f"No policy is set for {case.version.model}; {name} with its defaults decided.")
    )
    return Decision(
        id=new_id(),
        number=1,
        deployment=case.deployment.name,
        model=case.version.model,
        version=case.version.number,
        action=proposal.action,
        policy=name,
        policy_number=case.policy.number if case.policy else None,
        incident=case.incident.id if case.incident else None,
        diagnosis=case.diagnosis.id if case.diagnosis else None,
        cause=evidence.cause,
        curable=evidence.curable,
        reasons=reasons,
        expected_gain=proposal.expected_gain,
        gain_basis=evidence.gain_basis,
        cost=evidence.cost,
        cost_parts=evidence.cost_parts,
        margin=settings.margin,
        horizon_periods=settings.horizon_periods,
        currency=case.matrix.currency if case.matrix else scope.settings.rates.currency,
        evidence=evidence,
        settings=settings,
        challenger=f"{case.version.model}:{request.challenger}" if request.challenger else "",
        as_of=case.as_of,
        created_at=scope.now,
        created_by=scope.who,
    )


def _evidence(request: Decide, scope: Scope, case: Case, settings: PolicySettings) -> Evidence:
    cause = case.diagnosis.cause if case.diagnosis else "none"
    rate = scope.settings.rates
    parts = {
        "compute": (case.training_cpu_s or 0.0) / 3600 * rate.cpu_hour,
        "people": settings.people_hours * rate.person_hour,
        "risk": settings.fail_probability * settings.fail_loss,
    }
    retrained = [item for item in case.earlier if item.action == "retrain"]
    evidence = Evidence(
        as_of=case.as_of,
        cause=cause,
        curable=case.diagnosis.curable if case.diagnosis else False,
        open_data_fault=case.open_fault,
        drift_effect=_drift(case),
        performance_loss=_loss(case),
        cost=sum(parts.values()),
        cost_parts=parts,
        last_retrained_at=retrained[0].as_of if retrained else None,
        retrainings_this_month=sum(item.as_of.strftime("%Y-%m") == case.as_of.strftime("%Y-%m") for item in retrained),
        fresh_version=case.deployment.canary is not None,
    )
    inputs = [field.name for field in case.version.signature.inputs]
    held = served(scope, case.deployment.name, case.version.model, case.as_of - _LOOK_BACK, case.as_of, case.as_of, columns=inputs).rows
    delay = timedelta(seconds=case.monitor.label_delay_s if case.monitor else 0)
    old = held.filter(pl.col("event_time") < case.as_of - delay)
    share = float(old["label"].is_not_null().mean() or 0.0) if old.height else 0.0  # type: ignore[arg-type]
    evidence = replaced(evidence, labelled_share=share, labels_ready=share >= settings.min_labelled)
    if case.matrix is None or cause in DATA_FAULTS:
        return evidence
    mine = held.filter(pl.col("label").is_not_null() & (pl.col("version") == case.version.number))
    return _with_money(request, scope, case, settings, evidence, mine, volume=held.height / _LOOK_BACK.days * settings.period_days)


def _with_money(
    request: Decide, scope: Scope, case: Case, settings: PolicySettings, evidence: Evidence, rows: pl.DataFrame, *, volume: float
) -> Evidence:
    if case.matrix is None or rows.is_empty():
        return evidence
    by_loss = probing.by_loss(case.matrix, rows, own_scores(scope, case.version), case.version, 1.0)
    if request.challenger is not None:
        newest = rows.filter(pl.col("event_time") >= case.as_of - timedelta(days=settings.period_days))
        other = model_version(scope, case.version.model, request.challenger)
        found: probing.Gain | None = probing.by_challenger(scope, case.matrix, newest if newest.height else rows, case.version, other)
    else:
        found = probing.by_probe(case.matrix, rows, case.version)
        if found is None and by_loss is not None:
            recoverable = probing.Gain(per_row=rules.scaled(by_loss.per_row, settings.recoverable), basis=by_loss.basis)
            found = replaced_basis(recoverable, settings.recoverable)
    loss = rules.scaled(by_loss.per_row, volume) if by_loss else None
    return replaced(
        evidence,
        loss_per_period=loss,
        gain_per_period=rules.scaled(found.per_row, volume) if found else None,
        gain_basis=f"{found.basis}; {volume:.0f} predictions a period of {settings.period_days} days" if found else "",
        accumulated_loss=_accumulated(case, settings, loss.estimate if loss else 0.0),
    )


def replaced_basis(gain: probing.Gain, recoverable: float) -> probing.Gain:
    """The gain with a basis that names the share really applied."""
    return probing.Gain(per_row=gain.per_row, basis=gain.basis.replace("100% (declared)", f"{recoverable:.0%} (declared)", 1))


def _accumulated(case: Case, settings: PolicySettings, loss: float) -> float:
    last = case.earlier[0] if case.earlier else None
    if last is None or last.action == "retrain":
        return max(loss, 0.0)
    periods = min((case.as_of - last.as_of) / timedelta(days=settings.period_days), 1.0)
    return last.evidence.accumulated_loss + max(loss, 0.0) * periods


def _drift(case: Case) -> float | None:
    windows = [window for window in case.report.windows if window.end <= case.as_of] if case.report else []
    return max((item.effect for item in windows[-1].drift), default=None) if windows else None


def _loss(case: Case) -> float | None:
    if case.diagnosis is not None and case.diagnosis.loss is not None:
        return case.diagnosis.loss.loss
    windows = [window for window in case.report.windows if window.end <= case.as_of and window.recent] if case.report else []
    return windows[-1].recent.loss if windows and windows[-1].recent else None
