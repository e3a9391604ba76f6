"""The acts on a deployment's changes. Each is one request; its answer is the page to show next."""

from __future__ import annotations

from collections.abc import Callable

from rung.core.errors import Invalid
from rung.serving.ab_records import StopAb
from rung.serving.records import AbortCanary, PromoteCanary
from rung.serving.rollout_records import PauseRollout, ResumeRollout
from rung.ui.blocks import Visit
from rung.ui.words import address


def pause_rollout(visit: Visit, form: dict[str, str]) -> str:
    """Keep a canary at its share."""
    return address("deployments", visit.ask(PauseRollout(deployment=_given(form, "deployment"), reason=form.get("reason", ""))).deployment)


def resume_rollout(visit: Visit, form: dict[str, str]) -> str:
    """Let a canary grow on."""
    return address("deployments", visit.ask(ResumeRollout(deployment=_given(form, "deployment"), reason=form.get("reason", ""))).deployment)


def abort_canary(visit: Visit, form: dict[str, str]) -> str:
    """Take a canary, or a shadow, out of traffic."""
    return address("deployments", visit.ask(AbortCanary(deployment=_given(form, "deployment"), reason=form.get("reason", ""))).deployment)


def promote_canary(visit: Visit, form: dict[str, str]) -> str:
    """Give a canary all of the traffic; before it has passed, the reason stands for it."""
    reason = form.get("reason", "")
    asked = PromoteCanary(deployment=_given(form, "deployment"), reason=reason, override_reason=reason)
    return address("deployments", visit.ask(asked).deployment)


def stop_ab(visit: Visit, form: dict[str, str]) -> str:
    """End an A/B test with one of its arms."""
    asked = StopAb(deployment=_given(form, "deployment"), keep=_given(form, "keep"), reason=form.get("reason", ""))
    return address("deployments", visit.ask(asked).deployment)


RELEASES: dict[str, Callable[[Visit, dict[str, str]], str]] = {
    "pause-rollout": pause_rollout,
    "resume-rollout": resume_rollout,
    "abort-canary": abort_canary,
    "promote-canary": promote_canary,
    "stop-ab": stop_ab,
}


def _given(form: dict[str, str], name: str) -> str:
    value = form.get(name, "").strip()
    if not value:
        raise Invalid(f"The form says nothing for {name!r}.", code="ui.missing_field", hint="Fill in every field.")
    return value
