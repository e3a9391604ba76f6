"""Thompson sampling: each arm has the probability that it is the best one, given the rewards seen so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from msgspec import Meta

from rung.core.records import Record, Share
from rung.serving.records import ArmRewards
from rung.serving.routing.family import ROUTING, Policy

_DRAWS = 20_000


class ThompsonSettings(Record):
    """What keeps every arm observed."""

    floor: Annotated[Share, Meta(description="least share of every arm, so that a change of the world is seen")] = 0.01
    min_rows: Annotated[int, Meta(ge=2, description="labelled rows every arm needs before shares move")] = 50


def shares(wished: Mapping[str, float], settings: ThompsonSettings, rewards: Mapping[str, ArmRewards]) -> dict[str, float]:
    """P(arm is best) under normal posteriors of the mean rewards, at least ``floor`` each; wished shares while rows are few.

    Drawing one sample of every posterior for each request and taking the best chooses an arm with exactly this probability,
    so a share of that size is the same policy without a draw a request. Draws are seeded: the same rewards give the same shares.

    Source: W. R. Thompson, Biometrika 25 (1933) 285-294 (the probability is the share); Russo et al., A Tutorial on
    Thompson Sampling (2018), section 3. The normal posterior with a flat prior is the large-sample one.
    """
    arms = sorted(wished)
    if any(arm not in rewards or rewards[arm].rows < settings.min_rows for arm in arms):
        return dict(wished)
    mean = np.array([rewards[arm].mean for arm in arms])
    error = np.array([rewards[arm].error for arm in arms])
    draws = mean + error * np.random.default_rng(0).standard_normal((_DRAWS, len(arms)))
    best = np.bincount(draws.argmax(axis=1), minlength=len(arms)) / _DRAWS
    least = min(settings.floor, 1 / len(arms))
    return {arm: float(least + (1 - least * len(arms)) * p) for arm, p in zip(arms, best, strict=True)}


ROUTING.add("thompson", Policy(ThompsonSettings, shares, learns=True))
