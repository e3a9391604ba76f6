"""Which event moves a release on: labels are looked at, judgements acted on. Every subscriber may be called twice."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from rung.core.errors import Conflict, NotFound
from rung.core.events import on
from rung.monitoring.export_records import ExportLabels
from rung.monitoring.records import LabelsAdded
from rung.registry.engine_records import EngineChanged
from rung.serving.ab_records import ListAb, LookAtAb
from rung.serving.comparing_records import KeepComparison, ShadowEnded
from rung.serving.graph.making import model_ref, models_of
from rung.serving.records import ListDeployments, Reload
from rung.serving.rollout_records import AdvanceRollout, ListRollouts, RolloutJudged, WeighRollout

_LOOKS = 5


@on(LabelsAdded)
def look_again(event: LabelsAdded, transport: Any) -> None:
    """Labels are news of a growing canary and of an A/B test under way."""
    growing = transport.call(ListRollouts(deployment=event.deployment, active=True))
    tested = transport.call(ListAb(deployment=event.deployment, active=True))
    if not growing and not tested:
        return
    labels = transport.call(ExportLabels(deployment=event.deployment))
    if growing:
        _weigh(WeighRollout(deployment=event.deployment, labels=labels), transport)
    if tested:
        transport.call(LookAtAb(deployment=event.deployment, labels=labels))


def _weigh(request: WeighRollout, transport: Any) -> None:
    """Look at labels, again where another look came between, for that one has not seen them."""
    with suppress(NotFound):  # the canary may go meanwhile
        for _ in range(_LOOKS):
            with suppress(Conflict):
                transport.call(request)
                return
        transport.call(request)  # what it raises now has the event delivered again, later


@on(RolloutJudged)
def act(event: RolloutJudged, transport: Any) -> None:
    """A canary grows, takes all of the traffic, or leaves it, as its judgement says."""
    try:
        transport.call(AdvanceRollout(deployment=event.deployment, judgement=event.judgement))
    except NotFound:
        return  # the rollout has ended meanwhile


@on(ShadowEnded)
def keep(event: ShadowEnded, transport: Any) -> None:
    """What a shadow has shown is kept, for the log forgets it."""
    transport.call(KeepComparison(deployment=event.deployment, revision=event.revision))


@on(EngineChanged)
def follow(event: EngineChanged, transport: Any) -> None:
    """Deployments that serve a version, or ask it in their graph, are served by what it is compiled to now."""
    changed = (event.model, event.number)
    for held in transport.call(ListDeployments()):
        asked = [model_ref(model) for model in models_of(held.options.graph)]
        if changed in [*((x.model, x.number) for x in held.routes), *(asked if held.routes else ())]:
            try:
                reason = f"{event.model}:{event.number} is served by {event.said}"
                transport.call(Reload(deployment=held.name, reason=reason, since=event.at))
            except (NotFound, Conflict):
                continue  # it serves nothing, or something else, meanwhile
