"""Maturity from Python."""

from __future__ import annotations

from typing import Literal

from rung.client.transports import Transport
from rung.maturity import records as r


class MaturityVerbs:
    """Verbs of maturity."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def assessment(self) -> r.Assessment:
        """Levels, criteria with evidence and next steps, now; nothing is kept."""
        return self._transport.call(r.GetAssessment())

    def assess(self) -> r.Assessment:
        """As ``assessment``, and keep the levels as a point of the history."""
        return self._transport.call(r.Assess())

    def history(self) -> tuple[r.HistoryPoint, ...]:
        """Kept levels, oldest first."""
        return self._transport.call(r.GetHistory())

    def criteria(self) -> tuple[r.Criterion, ...]:
        """Every criterion."""
        return self._transport.call(r.ListCriteria())

    def attest(
        self, criterion: str, text: str, *, link: str = "", status: Literal["attested", "n.a."] = "attested", days: int | None = None
    ) -> r.Attestation:
        """Sign that a capability holds, or that it does not apply here."""
        return self._transport.call(r.Attest(criterion=criterion, text=text, link=link, status=status, days=days))

    def withdraw_attestation(self, attestation: str) -> r.Attestation:
        """Take a signature back."""
        return self._transport.call(r.WithdrawAttestation(id=attestation))

    def attestations(self) -> tuple[r.Attestation, ...]:
        """Signatures, newest first."""
        return self._transport.call(r.ListAttestations())

    def set_target(self, scale: r.Scale, level: int, *, reason: str, review_days: int = 180) -> r.Target:
        """Say which level is enough, and why."""
        return self._transport.call(r.SetTarget(scale=scale, level=level, reason=reason, review_days=review_days))
