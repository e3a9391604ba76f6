"""Decisions of serving: which routes follow a change, which arm a row takes, what a canary has shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Conflict
from rung.core.records import replaced
from rung.serving.records import CanaryLimits, Revision, Route


def with_canary(routes: Sequence[Route], model: str, number: int, share: float) -> tuple[Route, ...]:
    """Routes with a canary of that share beside the stable version; a share of 0 makes it a shadow. Raises Conflict."""
    stable = _stable(routes)
    if (stable.model, stable.number) == (model, number):
        raise Conflict(f"{model}:{number} is the stable version already.", code="serving.same_version", hint="Choose another version.")
    arm = Route(model=model, number=number, share=share, arm="canary" if share > 0 else "shadow")
    return (replaced(stable, share=1.0 - share), arm)


def with_share(routes: Sequence[Route], share: float) -> tuple[Route, ...]:
    """Routes with another share for the canary under way. Raises Conflict without one."""
    canary = candidate(routes)
    return with_canary(routes, canary.model, canary.number, share)


def promoted(routes: Sequence[Route]) -> tuple[Route, ...]:
    """The canary alone, as the stable version. Raises Conflict without one."""
    return (replaced(candidate(routes), share=1.0, arm="stable"),)


def without_canary(routes: Sequence[Route]) -> tuple[Route, ...]:
    """The stable version alone. Raises Conflict when nothing was beside it."""
    candidate(routes)
    return (replaced(_stable(routes), share=1.0),)


def candidate(routes: Sequence[Route]) -> Route:
    """The route beside the stable one. Raises Conflict without one."""
    found = next((route for route in routes if route.arm != "stable"), None)
    if found is None:
        raise Conflict(
            "There is no canary under way.", code="serving.no_canary", hint="Start one: rung deploy MODEL:N --name NAME --canary 10%."
        )
    return found


def rollback_target(revisions: Sequence[Revision], to: int | None) -> Revision:
    """The revision to return to, from all of them newest first: the one named, else the newest with another stable version.

    Raises Conflict when there is none.
    """
    now = revisions[0]
    if to is not None:
        found = next((r for r in revisions if r.number == to and r.routes), None)
    else:
        found = next((r for r in revisions[1:] if r.routes and _version(r) != _version(now)), None)
    if found is None:
        known = ", ".join(str(r.number) for r in revisions[1:] if r.routes) or "none"
        raise Conflict(
            f"There is no earlier revision to return to (known: {known}).",
            code="serving.no_revision",
            hint="`rung endpoint show NAME` lists them.",
        )
    return found


def arms(keys: Sequence[str], share: float) -> NDArray[np.bool_]:
    """For each key whether the canary takes it: a hash of the key below ``share``, so a key always goes the same way.

    The key's last 8 hex digits multiplied by an odd constant (Knuth, multiplicative hashing) are spread enough.
    """
    numbers = np.array([int.from_bytes(key.encode()[-8:], "big") for key in keys], dtype=np.uint64)
    spread = (numbers * np.uint64(11400714819323198485)) >> np.uint64(32)
    return np.asarray(spread < np.uint64(share * 2**32), dtype=np.bool_)


def judged(
    limits: CanaryLimits, *, canary_rows: int, stable_rows: int, canary_errors: int, score_distance: float, slowdown: float
) -> tuple[str, tuple[str, ...]]:
    """Outcome (passed, failed, insufficient) of a canary, with reasons.

    Args:
        limits: what it must keep to.
        canary_rows: rows it answered. stable_rows: rows the stable version answered meanwhile.
        canary_errors: rows it failed on.
        score_distance: Kolmogorov-Smirnov distance between the two versions' scores.
        slowdown: time a row of the canary over that of the stable version.
    """
    if canary_rows + canary_errors < limits.min_rows:
        return "insufficient", (f"The canary answered {canary_rows} rows, fewer than the {limits.min_rows} it takes.",)
    share = canary_errors / (canary_rows + canary_errors)
    checks = [
        (
            share <= limits.max_error_share,
            f"{canary_errors} of {canary_rows + canary_errors} rows failed ({share:.2%}, limit {limits.max_error_share:.2%}).",
        ),
        (
            not score_distance > limits.max_score_distance,
            f"Scores lie {score_distance:.3f} from the stable version's (limit {limits.max_score_distance}).",
        ),
        (not slowdown > limits.max_slowdown, f"A row takes {slowdown:.2f} times the stable version's time (limit {limits.max_slowdown})."),
    ]
    failed = tuple(reason for holds, reason in checks if not holds)
    if failed:
        return "failed", failed
    return "passed", (f"{canary_rows} rows beside {stable_rows} of the stable version.", *(reason for _, reason in checks))


def _stable(routes: Sequence[Route]) -> Route:
    found = next((route for route in routes if route.arm == "stable"), None)
    if found is None:
        raise Conflict(
            "The deployment serves nothing now.", code="serving.undeployed", hint="Deploy a version first: rung deploy MODEL:N --name NAME."
        )
    return found


def _version(revision: Revision) -> tuple[str, int]:
    stable = next(route for route in revision.routes if route.arm == "stable")
    return stable.model, stable.number
