"""Options of who answers a request, and of how a change of version is rolled out."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from rung.core.records import Key, Line, Record, Share


class RoutingOptions(Record):
    """A member of the family of routing policies, its settings, and how requests stay with their arm."""

    policy: Annotated[Key, Meta(description="member of the family of routing policies")] = "split"
    settings: dict[str, Any] = {}
    sticky: Annotated[Line, Meta(description="input column or request parameter whose value keeps a caller with its arm; empty: none")] = ""
    salt: Annotated[Line, Meta(description="text mixed into the hash: another one assigns every entity anew")] = ""
    holdout: Annotated[Share, Meta(description="share of entities that the stable version always answers, to measure what others gain")] = (
        0.0
    )


class RolloutPlan(Record):
    """Steps of a canary: shares it grows by, each after its gates have passed; a gate that fails rolls back."""

    steps: tuple[Share, ...] = (0.05, 0.25, 0.5, 1.0)
    step_rows: Annotated[int, Meta(ge=1, description="rows a step must see before it is judged")] = 200
    step_s: Annotated[float, Meta(ge=0, description="seconds a step lasts at least")] = 0.0
    gates: Annotated[
        dict[Key, dict[str, Any]], Meta(description="rollout gates by name, with their settings; empty: all with defaults")
    ] = {}
    give_up_s: Annotated[float, Meta(gt=0, description="seconds after which a step that never saw its rows is taken back")] = 86_400.0
