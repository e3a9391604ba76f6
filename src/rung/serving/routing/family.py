"""What a routing policy is: settings, and shares that follow from them and from what each arm has earned.

However a policy comes to its shares, keys are assigned by one hash (``rung.serving.assigning``), so an answer costs the same
under every policy and an entity stays with its arm as long as shares allow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rung.core.families import Family
from rung.core.records import Record, decoded
from rung.serving.assigning import STABLE, Range, RangeRouter, laid_out, seed_of
from rung.serving.records import ArmRewards, Deployment, Route, RoutingState


class Router(Protocol):
    """Chooses the arm of each row."""

    def choose(self, ids: Sequence[str], entities: Sequence[str] | None, now_us: int) -> str | list[str]:
        """The arm of all rows, or one a row: a name of the deployment's routes, or ``holdout`` (which the stable version answers).

        Args:
            ids: prediction ids. entities: what keeps a row with its arm, None to go by the id.
            now_us: microseconds since 1970, for policies that look at the time.
        """
        ...


@dataclass(frozen=True)
class Policy:
    """A member: its settings, and the shares of the arms (the stable one among them).

    ``shares`` is given each arm's share as the revision wishes it, the settings, and the rewards seen so far. ``learns`` says
    that shares follow from rewards, so that the engine recomputes them as labels come.
    """

    settings: type[Record]
    shares: Callable[[Mapping[str, float], Any, Mapping[str, ArmRewards]], dict[str, float]]
    learns: bool = False

    def checked(self, settings: Mapping[str, Any]) -> Record:
        """The settings as the policy's record. Raises Invalid, naming the field."""
        return decoded(dict(settings), self.settings)

    def wished(self, routes: Sequence[Route], settings: Mapping[str, Any], rewards: Mapping[str, ArmRewards]) -> dict[str, float]:
        """Share of every arm that answers, given what each has earned."""
        held = {route.arm: route.share for route in routes if route.arm != "shadow"}
        return self.shares(held, self.checked(settings), rewards)

    def router(self, routes: Sequence[Route], settings: Mapping[str, Any], state: RoutingState | None) -> Router:
        """A router over routes: by the state's ranges where there are, else by those of the revision, else by its shares."""
        return RangeRouter(ranges_of(routes, state), seed=seed_of(str(settings.get("salt", ""))))


ROUTING: Family[Policy] = Family("routing", "rung.serving.routing")


def ranges_of(routes: Sequence[Route], state: RoutingState | None) -> Mapping[str, Sequence[Range]]:
    """Ranges in force: learned ones, those kept with the routes, or fresh ones from shares."""
    if state is not None and {*state.ranges} >= {route.arm for route in routes if route.arm not in {STABLE, "shadow"}}:
        return state.ranges
    held = {route.arm: route.ranges for route in routes if route.arm not in {STABLE, "shadow"}}
    if all(held.values()):
        return held
    return laid_out({route.arm: route.share for route in routes})


def router_of(deployment: Deployment, state: RoutingState | None) -> Router | None:
    """The router of a deployment in force; None when the stable version answers every row, so that it costs nothing."""
    options = deployment.options.routing
    if not options.holdout and all(route.arm in {STABLE, "shadow"} for route in deployment.routes):
        return None
    learns = ROUTING.get(options.policy).learns  # an unknown policy is told when the deployment loads
    return RangeRouter(
        ranges_of(deployment.routes, state if learns and state is not None and state.salt == options.salt else None),
        seed=seed_of(f"{deployment.name}/{options.salt}"),
        holdout=options.holdout,
        holdout_seed=seed_of(f"{deployment.name}/holdout"),
    )
