"""The closed loop: which event of one area asks which verb of another.

version added -> triggers | alert -> triggers | incident diagnosed -> decision | decision to retrain -> triggers |
gate passed by a run that a decision started -> canary | labels -> judgement of the canary | judgement -> promotion or
end of the canary | promotion in traffic -> champion. Delivery is at least once: every subscriber may be called twice.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

from rung.core.errors import Conflict, NotFound
from rung.core.events import on
from rung.monitoring.records import Diagnose, IncidentDiagnosed, IncidentOpened, LabelsAdded
from rung.pipelines.records import GetPipelineRun
from rung.registry.logged import ModelRenamed
from rung.registry.records import CHAMPION, GatePassed, GetVersion, Promote
from rung.registry.webhooks import ListWebhooks, TellRunFinished
from rung.serving.records import (
    AbortCanary,
    CanaryJudged,
    Deployment,
    DeploymentChanged,
    GetDeployment,
    JudgeCanary,
    PromoteCanary,
    StartCanary,
)
from rung.serving.rollout_records import ListRollouts
from rung.tracking.records import RunFinished
from rung.value.records import Decide, FollowRenamed, GetDecision

_log = logging.getLogger("rung.engine")
CANARY_SHARE = 0.2


def load_subscribers() -> None:
    """Importing this module, and that of the triggers' signals, has subscribed everything; calling this says so."""
    import_module("rung.engine.trigger_signals")
    import_module("rung.engine.release_signals")


@on(IncidentOpened)
def diagnose_opened(event: IncidentOpened, transport: Any) -> None:
    """Every incident is diagnosed as soon as it opens, from what was known to the run that opened it."""
    transport.call(Diagnose(incident=event.incident, as_of=event.as_of))


@on(IncidentDiagnosed)
def decide_about_incident(event: IncidentDiagnosed, transport: Any) -> None:
    """A diagnosed incident is put to the retraining policy of its deployment."""
    transport.call(Decide(incident=event.incident, as_of=event.as_of))


@on(GatePassed)
def start_canary(event: GatePassed, transport: Any) -> None:
    """A version that passed its gates and comes from a decided retraining gets a small share of the deployment's traffic."""
    if event.pipeline_run_id is None:
        return
    cause = transport.call(GetPipelineRun(id=event.pipeline_run_id)).run.cause
    if cause.kind != "decision":
        return
    name = transport.call(GetDecision(decision=cause.subject)).deployment
    deployment = _deployment(transport, name)
    if deployment is None or any((route.model, route.number) == (event.model, event.number) for route in deployment.routes):
        return
    plan, reason = deployment.options.rollout, f"Verdict {event.verdict} passed."
    share = CANARY_SHARE if plan is None else plan.steps[0]
    transport.call(StartCanary(deployment=name, model=event.model, number=event.number, share=share, grow=plan is not None, reason=reason))


@on(LabelsAdded)
def judge_canary(event: LabelsAdded, transport: Any) -> None:
    """Labels are news of what both versions answered: a canary under way is judged again, unless it grows by its gates."""
    deployment = _deployment(transport, event.deployment)
    if deployment is None or deployment.canary is None or transport.call(ListRollouts(deployment=event.deployment, active=True)):
        return
    transport.call(JudgeCanary(deployment=event.deployment))


@on(CanaryJudged)
def act_on_judgement(event: CanaryJudged, transport: Any) -> None:
    """A canary that passed takes the place of the stable version; one that failed leaves the traffic."""
    deployment = _deployment(transport, event.deployment)
    if deployment is None or deployment.revision != event.revision or deployment.canary is None:
        return  # somebody has acted already
    if event.outcome == "passed":
        try:
            transport.call(PromoteCanary(deployment=event.deployment, reason="Its judgement passed."))
        except Conflict as error:  # its approval went since; the next judgement says so
            _log.warning("canary of %s: %s", event.deployment, error)
    elif event.outcome == "failed":
        transport.call(AbortCanary(deployment=event.deployment, reason="Its judgement failed."))


@on(DeploymentChanged)
def move_champion(event: DeploymentChanged, transport: Any) -> None:
    """A version that has won its place in the traffic becomes the champion of its model."""
    if event.change != "promote":
        return
    try:
        held = transport.call(GetVersion(model=event.model, alias=CHAMPION)).number
    except NotFound:
        held = None  # the model has no champion yet
    if held != event.number:
        reason = f"Its canary on {event.deployment} became the stable version."
        transport.call(Promote(model=event.model, number=event.number, alias=CHAMPION, reason=reason))


@on(RunFinished)
def tell_run_finished(event: RunFinished, transport: Any) -> None:
    """Webhooks that listen to ends of runs are told of this one."""
    if any("run.finished" in webhook.events for webhook in transport.call(ListWebhooks(limit=1000)).items):
        transport.call(TellRunFinished(run=event.run))


@on(ModelRenamed)
def rename_in_value(event: ModelRenamed, transport: Any) -> None:
    """What a model is worth follows its new name."""
    transport.call(FollowRenamed(model=event.model, previous=event.previous))


def _deployment(transport: Any, name: str) -> Deployment | None:
    try:
        found: Deployment = transport.call(GetDeployment(deployment=name))
    except NotFound:
        return None  # labels may belong to a deployment of another platform
    return found
