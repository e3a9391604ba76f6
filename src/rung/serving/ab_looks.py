"""Looks at A/B tests: what the arms' labelled rows have earned, and what a learning policy makes of it."""

from __future__ import annotations

import polars as pl

from rung.core.ids import new_id
from rung.serving import predictions
from rung.serving.ab_records import AbLook, AbTest
from rung.serving.ab_rules import compared, concluded, rewards, sums
from rung.serving.judging import labels_of
from rung.serving.options import RoutingOptions
from rung.serving.records import ArmRewards, Route
from rung.serving.routing import ROUTING
from rung.storage.scope import Scope


def look_at(
    scope: Scope, test: AbTest, routes: tuple[Route, ...], routing: RoutingOptions, *, revision: int, labels: str
) -> tuple[AbLook, dict[str, ArmRewards], dict[str, float]] | None:
    """A look, the rewards of each arm and the shares that follow; None when the labels say nothing new."""
    frame = _answered(scope, test).join(labels_of(scope, labels), on="prediction_id", how="left")
    earned = {arm.arm: _earned(test, arm.arm, frame) for arm in test.arms}
    labelled = sum(item.rows for item in earned.values())
    if test.latest is not None and labelled == test.latest.labelled and _same(test.latest, earned):
        return None
    shares = ROUTING.get(test.policy).wished(routes, routing.settings, earned)
    counted = {row[0]: int(row[1]) for row in frame.group_by("arm").agg(pl.len()).iter_rows()}
    arms = compared(test, earned, counted, shares)
    conclusion, better = concluded(test, arms)
    look = AbLook(
        id=new_id(), test=test.id, deployment=test.deployment, revision=revision, arms=arms, labelled=labelled, conclusion=conclusion,
        better=better, watermark=frame["event_time"].max(), created_at=scope.now,  # type: ignore[arg-type]  # a column of instants
    )  # fmt: skip
    return look, earned, shares


def _answered(scope: Scope, test: AbTest) -> pl.DataFrame:
    """What the arms answered since the test began, each prediction once."""
    where = (pl.col("revision") >= test.first_revision) & pl.col("arm").is_in([arm.arm for arm in test.arms])
    frame = predictions.chosen(scope, test.deployment, predictions.Wanted(where=where), columns=[])
    return frame.unique("prediction_id", keep="first", maintain_order=True)


def _earned(test: AbTest, arm: str, frame: pl.DataFrame) -> ArmRewards:
    known = frame.filter((pl.col("arm") == arm) & pl.col("label").is_not_null() & pl.col("score").is_finite())
    scores, labels = known["score"].to_numpy().astype(float), known["label"].to_numpy().astype(float)
    return sums(arm, rewards(test.reward, scores, labels, threshold=test.threshold, values=test.values))


def _same(look: AbLook, earned: dict[str, ArmRewards]) -> bool:
    return all(arm.labelled == earned[arm.arm].rows and (arm.mean == earned[arm.arm].mean or not arm.labelled) for arm in look.arms)
