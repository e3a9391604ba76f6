"""Decisions of serving: which routes follow a change, what a canary has shown."""

from __future__ import annotations

from collections.abc import Sequence

from rung.core.errors import Conflict, Invalid
from rung.core.records import replaced
from rung.registry.records import ModelVersion
from rung.serving.assigning import laid_out
from rung.serving.options import RolloutPlan
from rung.serving.records import CanaryLimits, Revision, Route

NATIVE = "native"


def with_canary(routes: Sequence[Route], model: str, number: int, share: float) -> tuple[Route, ...]:
    """Routes with a canary of that share beside the stable version; a share of 0 makes it a shadow. Raises Conflict."""
    stable = _stable(routes)
    if (stable.model, stable.number) == (model, number):
        raise Conflict(f"{model}:{number} is the stable version already.", code="serving.same_version", hint="Choose another version.")
    _refuse_test(routes)
    arm = Route(model=model, number=number, share=share, arm="canary" if share > 0 else "shadow")
    kept = [x for x in routes if x.arm not in {"stable", arm.arm} and (x.model, x.number) != (model, number)]
    taken = share + sum(x.share for x in kept)
    return (replaced(stable, share=1.0 - taken), arm, *kept)


def with_arms(routes: Sequence[Route], arms: Sequence[tuple[str, int, float]]) -> tuple[Route, ...]:
    """Routes of an A/B test: (model, number, share) of every arm beside the stable version. Raises Conflict, Invalid."""
    stable = _stable(routes)
    _refuse_test(routes)
    if any(route.arm == "canary" for route in routes):
        raise Conflict("A canary is under way.", code="serving.canary_under_way", hint="Promote or abort it first.")
    taken = sum(share for _, _, share in arms)
    if not 0 < taken <= 1 or any(share <= 0 for _, _, share in arms):
        raise Invalid(
            f"Shares of {taken:.0%} together leave nothing to compare.", code="serving.bad_shares", hint="Let them be at most 100 %."
        )
    named = [(model, number) for model, number, _ in arms]
    if len({*named, (stable.model, stable.number)}) <= len(named):
        raise Conflict("Two arms are the same version.", code="serving.same_version", hint="Give every arm a version of its own.")
    others = (Route(model=m, number=n, share=s, arm=f"arm-{i}") for i, (m, n, s) in enumerate(arms, 1))
    return (replaced(stable, share=1.0 - taken), *others, *(x for x in routes if x.arm == "shadow"))


def check_engine(version: ModelVersion, engine: str) -> None:
    """Raise Conflict when a version is to be served by an engine that it was not compiled for."""
    serving = version.engine.engine if version.engine is not None else NATIVE
    if engine in {"", NATIVE, serving}:
        return
    name = f"{version.model}:{version.number}"
    raise Conflict(
        f"{name} is served by {serving!r}, not by {engine!r}.", code="serving.other_engine",
        hint=f"`rung model engine {version.model} {version.number} --with {engine}` first, or leave runtime.engine empty.",
    )  # fmt: skip


def with_ranges(routes: Sequence[Route], before: Sequence[Route]) -> tuple[Route, ...]:
    """Routes with ranges of the hash: an arm that stays the same version under the same name keeps what it had."""
    old = {x.arm: x.ranges for x in before if any((x.arm, x.model, x.number) == (y.arm, y.model, y.number) for y in routes)}
    ranges = laid_out({x.arm: x.share for x in routes}, old)
    return tuple(replaced(x, ranges=ranges.get(x.arm, ())) for x in routes)


def with_share(routes: Sequence[Route], share: float) -> tuple[Route, ...]:
    """Routes with another share for the canary under way. Raises Conflict without one."""
    canary = candidate(routes)
    return with_canary(routes, canary.model, canary.number, share)


def grown_from(share: float, plan: RolloutPlan | None) -> RolloutPlan:
    """The plan, beginning at a share: its larger steps follow. Raises Invalid when steps do not grow."""
    plan = plan or RolloutPlan()
    if list(plan.steps) != sorted(set(plan.steps)) or not plan.steps or plan.steps[0] <= 0:
        raise Invalid(
            f"Steps {plan.steps} do not grow.", code="serving.bad_steps", hint="Give rising shares above 0, such as 5%, 25%, 100%."
        )
    steps = (share, *(step for step in plan.steps if step > share))
    return replaced(plan, steps=steps)


def promoted(routes: Sequence[Route]) -> tuple[Route, ...]:
    """The canary alone, as the stable version. Raises Conflict without one."""
    return (replaced(candidate(routes), share=1.0, arm="stable", ranges=()),)


def kept_arm(routes: Sequence[Route], arm: str) -> tuple[Route, ...]:
    """One arm of an A/B test alone, as the stable version. Raises Conflict."""
    found = next((route for route in routes if route.arm == arm and arm not in {"canary", "shadow"}), None)
    if found is None or all(not route.arm.startswith("arm-") for route in routes):
        known = ", ".join(route.arm for route in routes) or "none"
        raise Conflict(f"There is no arm {arm!r} (known: {known}).", code="serving.no_arm", hint="Name an arm of the test under way.")
    return (replaced(found, share=1.0, arm="stable", ranges=()),)


def without_canary(routes: Sequence[Route]) -> tuple[Route, ...]:
    """The routes without the canary, or without the shadow if there is no canary. Raises Conflict when nothing is beside the stable one."""
    gone = candidate(routes)
    kept = [route for route in routes if route.arm not in {"stable", gone.arm}]
    return (replaced(_stable(routes), share=1.0 - sum(route.share for route in kept)), *kept)


def candidate(routes: Sequence[Route]) -> Route:
    """The canary, or without one the shadow. Raises Conflict without both."""
    for arm in ("canary", "shadow"):
        for route in routes:
            if route.arm == arm:
                return route
    raise Conflict(
        "There is no canary under way.", code="serving.no_canary", hint="Start one: rung deploy MODEL:N --name NAME --canary 10%."
    )


def rollback_target(revisions: Sequence[Revision], to: int | None) -> Revision:
    """The revision to return to, from all of them newest first.

    The one named; else, while others answer beside the stable version, the newest in which it answered alone: what is on trial is
    what is meant to go; else the newest with another stable version. Raises Conflict when there is none.
    """
    now = revisions[0]
    if to is not None:
        found = next((r for r in revisions if r.number == to and r.routes), None)
    else:
        found = next((r for r in revisions[1:] if _alone(r) and _version(r) == _version(now)), None) if not _alone(now) else None
        found = found or next((r for r in revisions[1:] if r.routes and _version(r) != _version(now)), None)
    if found is None:
        known = ", ".join(str(r.number) for r in revisions[1:] if r.routes) or "none"
        raise Conflict(
            f"There is no earlier revision to return to (known: {known}).",
            code="serving.no_revision",
            hint="`rung endpoint show NAME` lists them.",
        )
    return found


def _alone(revision: Revision) -> bool:
    """Whether nobody but the stable version answers."""
    return sum(route.share > 0 for route in revision.routes) == 1


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


def _refuse_test(routes: Sequence[Route]) -> None:
    if any(route.arm.startswith("arm-") for route in routes):
        raise Conflict("An A/B test is under way.", code="serving.ab_under_way", hint="End it first: rung ab stop NAME --keep stable.")


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
