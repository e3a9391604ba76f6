"""Epsilon-greedy: the arm with the highest mean reward has all but a share that every arm has alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from rung.core.records import Record, Share
from rung.serving.records import ArmRewards
from rung.serving.routing.family import ROUTING, Policy


class EpsilonSettings(Record):
    """How much is explored, and from how many labelled rows of every arm on."""

    epsilon: Annotated[Share, Meta(description="share of requests that all arms have alike")] = 0.1
    min_rows: Annotated[int, Meta(ge=1, description="labelled rows every arm needs before one is preferred")] = 50


def shares(wished: Mapping[str, float], settings: EpsilonSettings, rewards: Mapping[str, ArmRewards]) -> dict[str, float]:
    """All but epsilon to the best arm; the shares wished while an arm has too few labelled rows.

    Source: Sutton and Barto, Reinforcement Learning (2nd edition, 2018), section 2.2.
    """
    if any(arm not in rewards or rewards[arm].rows < settings.min_rows for arm in wished):
        return dict(wished)
    best = max(sorted(wished), key=lambda arm: rewards[arm].mean)
    alike = settings.epsilon / len(wished)
    return {arm: alike + (1 - settings.epsilon if arm == best else 0.0) for arm in wished}


ROUTING.add("epsilon_greedy", Policy(EpsilonSettings, shares, learns=True))
