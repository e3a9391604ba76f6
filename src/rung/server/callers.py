"""Callers of the data plane: what they may ask of the platform beside predictions, and who calls over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from rung.app.platform import Caller, Platform
from rung.core.digests import digest_of
from rung.core.errors import Denied
from rung.core.records import Scalar
from rung.core.requests import Request
from rung.governance.rules import may

A = TypeVar("A")
PREDICT = "prediction:predict"


@dataclass(frozen=True, slots=True)
class Called:
    """A caller who may ask for predictions; ``token`` stands for its token where requests are counted."""

    project: str
    name: str
    token: str
    caller: Caller


@dataclass(frozen=True, slots=True)
class Asking:
    """The platform's door in a caller's name."""

    platform: Platform
    caller: Caller

    def call(self, request: Request[A]) -> A:
        """The answer to a request. Raises the six errors."""
        return self.platform.answer(request, self.caller)

    def label(self, deployment: str, labels: Sequence[tuple[str, Scalar]]) -> None:
        """Bring the truth about predictions, by id."""
        from rung.monitoring.labelling import Label  # noqa: PLC0415 - no prediction waits for monitoring to be loaded
        from rung.monitoring.records import AddLabels  # noqa: PLC0415 - see above

        told = tuple(Label(prediction_id=key, label=value) for key, value in labels)
        self.call(AddLabels(deployment=deployment, labels=told, source="feedback"))


class CallDoor:
    """The door of gRPC: a bearer token in the metadata ``authorization``, a project in ``x-rung-project``."""

    def __init__(self, platform: Platform, open_as: str = "") -> None:
        self._platform, self._open_as = platform, open_as

    def admit(self, authorization: str, project: str | None) -> Called:
        """The caller. Raises Denied without a good token or the right to predict; NotFound for a project it is no member of."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        if not token and not authorization:
            token = self._open_as
        return called(self._platform, self._platform.identify(token, project), token)

    def asking(self, caller: Called) -> Asking:
        """The platform's door in the caller's name."""
        return Asking(self._platform, caller.caller)


def called(platform: Platform, caller: Caller, token: str) -> Called:
    """A caller of the data plane. Raises Denied without the right to predict."""
    if not may(caller.role, PREDICT):
        raise Denied(
            f"{caller.name!r} may not ask for predictions here.", code="governance.denied", hint="Ask an owner of the project for a role."
        )
    return Called(caller.project, caller.name, digest_of(token.encode())[-32:], caller)
