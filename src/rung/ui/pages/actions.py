"""The few acts of the pages. Each is one request; its answer is the page to show next."""

from __future__ import annotations

from collections.abc import Callable

from rung.core.errors import Invalid
from rung.monitoring.records import CloseIncident
from rung.registry.records import Promote
from rung.serving.records import Rollback
from rung.ui.blocks import Visit
from rung.ui.pages.model_actions import MODELS
from rung.ui.pages.pipeline_actions import PIPELINES
from rung.ui.pages.release_actions import RELEASES
from rung.ui.pages.tracking_actions import TRACKING
from rung.ui.words import address

Act = Callable[[Visit, dict[str, str]], str]


def close_incident(visit: Visit, form: dict[str, str]) -> str:
    """Close an incident with how it ended."""
    held = visit.ask(CloseIncident(incident=_given(form, "incident"), resolution=_given(form, "resolution")))
    return address("incidents", held.number)


def promote(visit: Visit, form: dict[str, str]) -> str:
    """Make a version champion; its gates decide."""
    held = visit.ask(Promote(model=_given(form, "model"), number=_number(form, "number"), reason=form.get("reason", "")))
    return address("models", held.model)


def rollback(visit: Visit, form: dict[str, str]) -> str:
    """Return a deployment to the revision before."""
    return address("deployments", visit.ask(Rollback(deployment=_given(form, "deployment"), reason=form.get("reason", ""))).deployment)


ACTIONS: dict[str, Act] = {
    "close-incident": close_incident,
    "promote": promote,
    "rollback": rollback,
    **TRACKING,
    **MODELS,
    **PIPELINES,
    **RELEASES,
}


def _given(form: dict[str, str], name: str) -> str:
    value = form.get(name, "").strip()
    if not value:
        raise Invalid(f"The form says nothing for {name!r}.", code="ui.missing_field", hint="Fill in every field.")
    return value


def _number(form: dict[str, str], name: str) -> int:
    value = _given(form, name)
    if not value.isdecimal():
        raise Invalid(f"{name} is {value!r}, not a number.", code="ui.bad_field", hint="Give a whole number.")
    return int(value)
