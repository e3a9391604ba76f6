"""Handlers of maturity."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from rung.core.errors import Invalid, NotFound
from rung.core.ids import new_id
from rung.core.requests import handles
from rung.maturity import records as r
from rung.maturity.catalogue import catalogue
from rung.maturity.store import MaturityStore
from rung.storage.scope import Scope

_LONG_LIVED = {"D06": 365, "G05": 365}


@handles(r.GetAssessment)
def get_assessment(request: r.GetAssessment, scope: Scope) -> r.Assessment:
    """The assessment now."""
    from rung.maturity.assessing import assess  # noqa: PLC0415 - Polars, which `rung up` must not wait for

    return assess(scope)


@handles(r.Assess)
def assess_and_keep(request: r.Assess, scope: Scope) -> Callable[[Scope], r.Assessment]:
    """The assessment now, its levels kept."""
    from rung.maturity.assessing import assess  # noqa: PLC0415 - see get_assessment

    made = scope.read(assess)

    def save(inside: Scope) -> r.Assessment:
        point = r.HistoryPoint(
            id=new_id(), at=made.at, levels={item.scale: item.reached for item in made.scales}, test_score=made.test_score.final,
            passed=made.counts.get("pass", 0), by=inside.who,
        )  # fmt: skip
        _store(inside).add_point(point)
        return made

    return save


@handles(r.GetHistory)
def get_history(request: r.GetHistory, scope: Scope) -> tuple[r.HistoryPoint, ...]:
    """Kept levels."""
    return _store(scope).history()


@handles(r.ListCriteria)
def list_criteria(request: r.ListCriteria, scope: Scope) -> tuple[r.Criterion, ...]:
    """All criteria."""
    return catalogue().criteria


@handles(r.Attest)
def attest(request: r.Attest, scope: Scope) -> r.Attestation:
    """The signature. Raises NotFound for an unknown criterion, Invalid for one that only records can prove."""
    found = next((item for item in catalogue().criteria if item.id == request.criterion), None)
    if found is None:
        raise NotFound(
            f"There is no criterion {request.criterion!r}.", code="maturity.no_criterion", hint="`rung maturity --all` lists them."
        )
    if found.kind == "auto" and request.status == "attested":
        raise Invalid(
            f"{found.id} ({found.text}) is proved by records only.",
            code="maturity.not_attestable",
            hint="Sign it as not applicable, with the reason, or bring the evidence.",
        )
    days = request.days or _LONG_LIVED.get(found.id, 180)
    attestation = r.Attestation(
        id=new_id(), criterion=found.id, text=request.text, link=request.link, status=request.status, signed_by=scope.who,
        signed_at=scope.now, expires_at=scope.now + timedelta(days=days),
    )  # fmt: skip
    _store(scope).add_attestation(attestation)
    return attestation


@handles(r.WithdrawAttestation)
def withdraw_attestation(request: r.WithdrawAttestation, scope: Scope) -> r.Attestation:
    """The signature, now withdrawn. Raises NotFound."""
    return _store(scope).withdraw(request.id, scope.now)


@handles(r.ListAttestations)
def list_attestations(request: r.ListAttestations, scope: Scope) -> tuple[r.Attestation, ...]:
    """Signatures."""
    return _store(scope).attestations()


@handles(r.SetTarget)
def set_target(request: r.SetTarget, scope: Scope) -> r.Target:
    """The target. Raises Invalid for a level the scale does not have."""
    rule = catalogue().scales[request.scale]
    if not rule.base <= request.level <= rule.top:
        raise Invalid(
            f"Scale {request.scale!r} has no level {request.level}.", code="maturity.no_level", hint=f"Choose {rule.base} to {rule.top}."
        )
    target = r.Target(
        scale=request.scale, level=request.level, reason=request.reason, set_by=scope.who, set_at=scope.now,
        review_at=scope.now + timedelta(days=request.review_days),
    )  # fmt: skip
    _store(scope).set_target(target)
    return target


def _store(scope: Scope) -> MaturityStore:
    return MaturityStore(scope.connection, scope.project)
