"""The holdout as a baseline: what decisions were worth where arms were tried, beside entities that nobody tried anything on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.monitoring.sources import ask
from rung.serving.records import GetDeployment
from rung.storage.scope import Scope
from rung.value import rules
from rung.value.measuring import Served, money
from rung.value.records import HoldoutComparison, Interval, ValueMatrix

FEWEST_ENTITIES = 30
_PAIR = ("model", "version")


@dataclass(frozen=True)
class Holdout:
    """The comparison, and what it says of the treated rows: a boolean a matured row, their entities, and the held-out mean."""

    told: HoldoutComparison
    treated: NDArray[np.bool_]
    entity: NDArray[np.int64]
    held: rules.Mean

    def baseline(self, gross: rules.Floats) -> rules.Floats:
        """Money each matured row would have been worth as the held-out ones were; rows that were not treated gain nothing."""
        return np.where(self.treated, self.held.value, gross)

    def total(self, gross: rules.Floats, among: NDArray[np.bool_]) -> Interval:
        """What the treated ones among some rows gained in all."""
        mine = self.treated & among
        treated = rules.mean_of(gross[mine], self.entity[mine])
        if treated.rows == 0:
            return Interval(estimate=0.0, low=0.0, high=0.0)
        if treated.entities == 1:  # alone it has no spread of its own
            treated = rules.Mean(treated.value, 0.0, treated.rows, 1)
        return rules.scaled(rules.mean_difference(treated, self.held), treated.rows)


def entity_column(scope: Scope, deployment: str) -> str:
    """The input whose value keeps an entity with its arm; empty where each prediction is assigned by itself."""
    return ask(scope, GetDeployment(deployment=deployment)).options.routing.sticky


def compared(scope: Scope, matrix: ValueMatrix, found: Served, matured: pl.DataFrame, gross: rules.Floats, sticky: str) -> Holdout | None:
    """The holdout beside the treated rows of the revisions in which it ran and arms were tried; None where none ran.

    Args:
        matured: rows of the model with a label; gross: their money, shape (n,).
        sticky: the input that names an entity.
    """
    if found.held_out.is_empty():
        return None
    tried = _tried(found)
    held_rows = found.held_out.filter(pl.col("label").is_not_null() & tried)
    treated = matured.select(tried & (pl.col("arm") != "holdout")).to_series().to_numpy()
    by, key = (sticky, sticky) if sticky in matured.columns else ("prediction", "prediction_id")
    entity, held_entity = _numbered(matured[key], held_rows[key])
    held = rules.mean_of(money(scope, matrix, held_rows), held_entity)
    mine = rules.mean_of(gross[treated], entity[treated])
    alone = found.held_out.filter(tried).is_empty()
    thin = min(mine.entities, held.entities) < FEWEST_ENTITIES
    told = HoldoutComparison(
        treated=mine.rows, held=held.rows, treated_entities=mine.entities, held_entities=held.entities,
        treated_value=mine.value if mine.rows else None, held_value=held.value if held.rows else None,
        difference=rules.mean_difference(mine, held) if min(mine.entities, held.entities) > 1 else None,
        by=by, usable=not (thin or alone), note=_note(mine, held, by, thin=thin, alone=alone),
    )  # fmt: skip
    return Holdout(told, treated, entity, held)


def _tried(found: Served) -> pl.Expr:
    """Rows of revisions in which a holdout ran, and others were answered by something else than it was."""
    told = []
    for (revision,), held in found.held_out.partition_by("revision", as_dict=True).items():
        others = found.rows.filter((pl.col("revision") == revision) & (pl.col("arm") != "holdout"))
        if set(others.select(_PAIR).unique().iter_rows()) - set(held.select(_PAIR).unique().iter_rows()):
            told.append(revision)
    return pl.col("revision").is_in(told)


def _note(treated: rules.Mean, held: rules.Mean, by: str, *, thin: bool, alone: bool) -> str:
    counts = f"{treated.rows} treated decisions ({treated.entities} of {by}) and {held.rows} held out ({held.entities} of {by}) have labels"
    if alone:
        return "A holdout ran, but the version that answered it answered everybody else too, so it shows nothing."
    if thin:
        return f"A holdout ran, but is too thin to tell: {counts}; {FEWEST_ENTITIES} of each are needed."
    return f"Entities held out were answered by the stable version throughout: {counts}."


def _numbered(one: pl.Series, other: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Equal values of two columns as equal numbers."""
    places = pl.concat([one.cast(pl.String), other.cast(pl.String)]).rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    return places[: len(one)], places[len(one) :]
