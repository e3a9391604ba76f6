"""Requests about how a deployment answers: options by path, plans, differences of revisions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.records import Key, Line, Name, Number, Record, Text
from rung.core.requests import Effect, Request
from rung.serving.options import DeploymentOptions
from rung.serving.records import Change, Revision, Route


class FieldChange(Record):
    """One field that differs: its path, and the two values."""

    path: Line
    before: Any = None
    after: Any = None


class RevisionDiff(Record):
    """What differs between two states of a deployment; ``after`` is None for a revision that is only planned."""

    deployment: Name
    before: Number | None
    after: Number | None
    change: Change | None = None
    changes: tuple[FieldChange, ...]
    routes: tuple[Route, ...] = ()
    notes: tuple[Line, ...] = ()


class Configure(Request[Revision]):
    """Change how a deployment answers: single options by their path, or all of them.

    ``set`` maps paths such as ``limits.requests_per_s`` to values; None puts the default back. ``options`` replaces everything first.
    """

    operation = "serving.configure"
    permission = "deployment:deploy"
    effect: ClassVar[Effect] = "work"
    deployment: Name
    set: Annotated[dict[Line, Any], Meta(max_length=200)] = {}
    options: DeploymentOptions | None = None
    reason: Text = ""


class PlanChange(Request[RevisionDiff]):
    """What a verb would change, without doing it: its name (deploy, start_canary, configure …) and its fields."""

    operation = "serving.plan"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    verb: Literal["deploy", "start_canary", "set_traffic", "promote_canary", "abort_canary", "rollback", "undeploy", "configure"]
    fields: dict[Key, Any]


class DiffRevisions(Request[RevisionDiff]):
    """What differs between two revisions of a deployment; without ``after``, the one in force."""

    operation = "serving.diff_revisions"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name
    before: Number
    after: Number | None = None
