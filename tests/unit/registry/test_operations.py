"""Models from registration to promotion through the platform."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

import rung
from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.errors import Conflict, Denied, Invalid, NotFound
from rung.governance.records import WhoAmI
from rung.registry import records as r
from rung.registry.loading import forget, predictor

RNG = np.random.default_rng(11)
N = 600
FRAME = pl.DataFrame({"x": RNG.normal(size=N), "z": RNG.normal(size=N), "origin": RNG.choice(["JFK", "LGA"], N)})
FRAME = FRAME.with_columns(late=(FRAME["x"] + FRAME["z"] + pl.Series(RNG.normal(size=N))) > 0)
GOOD = LogisticRegression().fit(FRAME.select("x", "z"), FRAME["late"].to_numpy())
POOR = LogisticRegression().fit(FRAME.select("x", "z"), RNG.permutation(FRAME["late"].to_numpy()))


@pytest.fixture
def flights(client: Client) -> Client:
    """A client whose project holds the dataset ``flights``, and version 1 (poor) and 2 (good) of the model ``late``."""
    client.data.add("flights", FRAME)
    for model in (POOR, GOOD):
        client.registry.register("late", model, example=FRAME.select("x", "z"), label="late", datasets=[("test", "flights", 1)])
    return client


def test_a_version_knows_what_it_was_made_from(client: Client) -> None:
    client.data.add("flights", FRAME)
    with rung.start_run("train", client=client) as run:
        version = rung.register_model("late", GOOD, example=FRAME.select("x", "z"), label="late", datasets=[("train", "flights", 1)])
    assert (version.number, version.task, version.classes, version.run_id) == (1, "binary", (False, True), run.id)
    assert version.lock == client.tracking.get(run.id).lock
    upstream = {(edge.source.kind, edge.source.id) for edge in client.governance.trace("model_version", "late:1").edges}
    assert {("run", run.id), ("dataset_version", "flights:1")} <= upstream


def test_a_loaded_version_scores_as_the_estimator_and_stays_loaded(flights: Client, transport: LocalTransport) -> None:
    forget()
    version = flights.registry.version("late")
    held = predictor(transport.platform.blobs, version)
    assert np.allclose(held.predict_scores(FRAME.select("z", "x")), GOOD.predict_proba(FRAME.select("x", "z"))[:, 1], rtol=0, atol=1e-12)
    assert predictor(transport.platform.blobs, version) is held
    assert held.predict_scores(FRAME.select("x", "z").head(0)).shape == (0,)


def test_an_evaluation_scores_the_whole_and_its_slices(flights: Client) -> None:
    made = flights.registry.evaluate("late", 2, "flights", slices=["origin", "x/2"])
    said = GOOD.predict(FRAME.select("x", "z"))
    assert made.scores["accuracy"] == pytest.approx((said == FRAME["late"].to_numpy()).mean())
    assert made.intervals["accuracy"].low < made.scores["accuracy"] < made.intervals["accuracy"].high
    assert sum(item.rows for item in made.slices if item.column == "origin") == N
    assert {item.slice for item in made.slices} >= {"origin=JFK", "origin=LGA"}


def test_only_a_passing_verdict_promotes_and_the_next_must_beat_the_champion(flights: Client) -> None:
    registry = flights.registry
    with pytest.raises(Conflict, match="no verdict"):
        registry.promote("late", 2)
    first = registry.check_gate("late", 2)
    assert first.passed
    assert first.champion is None
    assert "First version" in first.reasons[0]
    assert registry.promote("late", 2).previous is None
    second = registry.check_gate("late", 1)
    assert not second.passed
    assert second.champion == 2
    assert any("better_than_champion" in reason for reason in second.reasons)
    with pytest.raises(Conflict, match="refused by its gates"):
        registry.promote("late", 1)
    assert registry.version("late", alias="champion").number == 2


def test_an_override_is_kept_with_its_reason_and_needs_the_right(flights: Client, transport: LocalTransport) -> None:
    with pytest.raises(Invalid):
        flights.registry.promote("late", 1, override_reason="short")
    flights.registry.promote("late", 1, override_reason="the good one is not served yet")
    assert flights.registry.alias_moves("late")[0].override_reason == "the good one is not served yet"
    who = transport.call(WhoAmI())
    service = LocalTransport(transport.platform, caller=transport.platform.service(who.project.id))
    with pytest.raises(Denied, match="model:override"):
        service.call(r.Promote(model="late", number=2, override_reason="because I want it"))


def test_a_verdict_against_an_earlier_champion_no_longer_promotes(flights: Client) -> None:
    flights.registry.check_gate("late", 2)
    flights.registry.promote("late", 1, override_reason="somebody was quicker")
    with pytest.raises(Conflict, match="Ask again"):
        flights.registry.promote("late", 2)


def test_a_free_alias_moves_by_compare_and_set_and_the_champion_does_not(flights: Client) -> None:
    registry = flights.registry
    registry.set_alias("late", "shadow", 1, expected=0)
    with pytest.raises(Conflict, match="points at version 1"):
        registry.set_alias("late", "shadow", 2, expected=2)
    with pytest.raises(Conflict):
        registry.set_alias("late", "shadow", 2, expected=0)
    registry.set_alias("late", "shadow", 2, expected=1)
    with pytest.raises(Conflict, match="promotion only"):
        registry.set_alias("late", "champion", 1)
    registry.remove_alias("late", "shadow")
    assert registry.model("late").aliases == {}
    assert [(move.previous, move.number) for move in registry.alias_moves("late")] == [(2, None), (1, 2), (None, 1)]


def test_a_version_in_use_cannot_be_deleted_and_numbers_are_not_given_again(flights: Client) -> None:
    registry = flights.registry
    registry.set_alias("late", "shadow", 2)
    with pytest.raises(Conflict, match="shadow"):
        registry.delete_version("late", 2)
    registry.remove_alias("late", "shadow")
    registry.delete_version("late", 2)
    assert registry.version("late").number == 1
    assert registry.register("late", GOOD, example=FRAME.select("x", "z"), label="late").number == 3


def test_gate_rules_are_checked_when_they_are_set(flights: Client) -> None:
    registry = flights.registry
    assert registry.gate_rules("late").set_at is None
    with pytest.raises(Invalid, match="at_leats"):
        registry.set_gate_rules("late", [{"gate": "threshold", "metric": "roc_auc", "at_leats": 0.7}])
    registry.set_gate_rules("late", [{"gate": "threshold", "metric": "roc_auc", "at_least": 0.999}], slices=["origin"])
    verdict = registry.check_gate("late", 2)
    assert not verdict.passed
    assert flights.evaluation.get(verdict.evaluation).slice_by[0].column == "origin"


def test_a_dataset_without_inputs_or_label_is_refused_by_name(flights: Client) -> None:
    flights.data.add("other", pl.DataFrame({"x": [1.0], "late": [True]}))
    with pytest.raises(Invalid, match="lacks z"):
        flights.registry.evaluate("late", 2, "other")
    flights.data.add("strange", pl.DataFrame({"x": [1.0], "z": [1.0], "late": ["maybe"]}))
    with pytest.raises(Invalid, match="'maybe'"):
        flights.registry.evaluate("late", 2, "strange")
    flights.data.add("unlabelled", pl.DataFrame({"x": [1.0], "z": [1.0], "late": [None]}, schema_overrides={"late": pl.Boolean}))
    with pytest.raises(Invalid, match="No row"):
        flights.registry.evaluate("late", 2, "unlabelled")


def test_a_card_names_its_gaps(flights: Client) -> None:
    card = flights.registry.card("late", 2)
    assert "a description" in card.gaps
    assert "an evaluation" in card.gaps
    flights.registry.update_version("late", 2, description="Will it be late?", tags={"a": "b"})
    flights.registry.check_gate("late", 2)
    card = flights.registry.card("late", 2)
    assert "roc_auc" in card.markdown
    assert not {"a description", "an evaluation", "a verdict"} & set(card.gaps)


def test_what_is_not_there_is_named(flights: Client) -> None:
    registry = flights.registry
    for ask, word in (
        (lambda: registry.version("nothing"), "'nothing'"),
        (lambda: registry.version("late", 9), "version 9"),
        (lambda: registry.version("late", alias="shadow"), "'shadow'"),
        (lambda: registry.check_gate("late", 9), "version 9"),
    ):
        with pytest.raises(NotFound, match=word):
            ask()


def test_files_that_do_not_load_are_refused_and_nothing_is_kept(client: Client) -> None:
    digest = client.transport.put_blob(b"no model")
    request = r.RegisterVersion(
        model="late", format="skops", files=(r.ModelFile(path="model.skops", digest=digest, size_bytes=8),), task="binary", label="late",
        signature=r.Signature(inputs=(r.Field(name="x", dtype="Float64"),)), classes=(0, 1),
    )  # fmt: skip
    with pytest.raises(Invalid, match="no skops model"):
        client.transport.call(request)
    assert client.registry.models() == ()
