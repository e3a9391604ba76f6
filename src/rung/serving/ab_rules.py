"""Decisions about A/B tests: what a labelled row earns, and what the arms' rewards say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.serving.ab_records import AbTest, ArmLook, Reward
from rung.serving.records import ArmRewards
from rung.stats.sequential import difference, stream_of

Floats = NDArray[np.float64]
_CELLS = ("tp", "fp", "fn", "tn")


def check_reward(reward: Reward, values: Mapping[str, float]) -> None:
    """Raise Invalid for a reward of money without a value for every outcome, and for values that nothing uses."""
    if reward == "value" and set(values) != set(_CELLS):
        raise Invalid(
            f"A reward of value needs {', '.join(_CELLS)}, not {', '.join(sorted(values)) or 'nothing'}.",
            code="serving.bad_values",
            hint="Take them from the model's value matrix: `rung value show MODEL`.",
        )
    if reward != "value" and values:
        raise Invalid(f"A reward of {reward!r} takes no values.", code="serving.bad_values", hint="Choose the reward value, or drop them.")


def rewards(reward: Reward, scores: Floats, labels: Floats, *, threshold: float, values: Mapping[str, float]) -> Floats:
    """What each labelled row earns, shape (n,); more is better.

    >>> rewards("correct", np.array([0.9, 0.2]), np.array([1.0, 1.0]), threshold=0.5, values={}).tolist()
    [1.0, 0.0]
    """
    if reward == "label":
        return labels
    if reward == "squared_error":
        return np.asarray(-((labels - scores) ** 2), dtype=np.float64)
    acted, true = scores >= threshold, labels > 0
    if reward == "correct":
        return np.asarray(acted == true, dtype=np.float64)
    hit, missed = np.where(true, values["tp"], values["fp"]), np.where(true, values["fn"], values["tn"])
    return np.asarray(np.where(acted, hit, missed), dtype=np.float64)


def sums(arm: str, earned: Floats) -> ArmRewards:
    """What an arm's labelled rows earned, as sums."""
    return ArmRewards(arm=arm, rows=earned.size, total=float(earned.sum()), squares=float((earned**2).sum()))


def compared(test: AbTest, earned: Mapping[str, ArmRewards], rows: Mapping[str, int], shares: Mapping[str, float]) -> tuple[ArmLook, ...]:
    """Every arm beside the stable one, at a level that holds for all arms together (Bonferroni) and at any look.

    p never rises again: what a test once showed, it has shown (Ville's inequality bounds the whole course).
    """
    stable = earned["stable"]
    alpha = test.alpha / max(len(test.arms) - 1, 1)
    before = {arm.arm: arm.p for arm in test.latest.arms} if test.latest else {}
    looks = []
    for arm in test.arms:
        held = earned[arm.arm]
        seen = ArmLook(
            arm=arm.arm, model=arm.model, number=arm.number, share=shares.get(arm.arm, arm.share), rows=rows.get(arm.arm, 0),
            labelled=held.rows, mean=held.mean, error=held.error,
        )  # fmt: skip
        looks.append(seen if arm.arm == "stable" else _beside(seen, stable, held, alpha, test.planned_rows, before.get(arm.arm, 1.0)))
    return tuple(looks)


def concluded(test: AbTest, looks: Sequence[ArmLook]) -> tuple[str, str | None]:
    """What a look says in a sentence, and the arm that is surely best beside the stable one, or ``stable`` if it beats all others."""
    alpha = test.alpha / max(len(test.arms) - 1, 1)
    others = [look for look in looks if look.arm != "stable"]
    better = [look for look in others if look.low > 0 and look.p <= alpha]
    if better:
        best = max(better, key=lambda look: look.mean)
        return (
            f"{best.arm} ({best.model}:{best.number}) earns {best.difference:+.4g} a row beside stable ({best.low:+.4g} to {best.high:+.4g}).",
            best.arm,
        )
    if others and all(look.high < 0 and look.p <= alpha for look in others):
        return "The stable version earns more than every other arm.", "stable"
    fewest = min((look.labelled for look in looks), default=0)
    return f"No difference can be told yet; the arm with fewest labels has {fewest}.", None


def _beside(look: ArmLook, stable: ArmRewards, held: ArmRewards, alpha: float, planned: int, before: float) -> ArmLook:
    found = difference(
        stream_of(stable.rows, stable.total, stable.squares),
        stream_of(held.rows, held.total, held.squares),
        alpha=alpha,
        planned_rows=planned,
    )
    low, high = (found.low, found.high) if np.isfinite(found.low) else (float("nan"), float("nan"))
    return ArmLook(
        arm=look.arm, model=look.model, number=look.number, share=look.share, rows=look.rows, labelled=look.labelled, mean=look.mean,
        error=look.error, difference=found.value, low=low, high=high, p=min(found.p, before),
    )  # fmt: skip
