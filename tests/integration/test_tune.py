"""Sweeps in one process: trials as runs, pruning, seeds, failures, grids, trade-offs, offline, resume."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import pytest

import rung
from rung.client.client import Client
from rung.client.tuning.records import TrialRow
from rung.core.errors import Conflict, Invalid, NotFound, Unavailable

SPACE = {"x": rung.Float(-5, 5), "k": ["a", "b"]}


@pytest.fixture(autouse=True)
def _own_home(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNG_HOME", str(home))
    monkeypatch.chdir(tmp_path)


def bowl(trial: rung.Trial) -> float:
    return (trial["x"] - 2) ** 2 + (1 if trial["k"] == "a" else 0)


def test_each_trial_is_a_run_below_the_sweep_with_params_metric_and_state(client: Client) -> None:
    sweep = rung.tune(bowl, SPACE, trials=8, seed=1, name="bowl", experiment="search", client=client)
    parent = client.tracking.get(sweep.id)
    assert (parent.status, parent.name, parent.experiment) == ("succeeded", "bowl", "search")
    assert parent.tags["rung.kind"] == "sweep"
    assert parent.tags["rung.sweep.direction"] == "minimize"
    children = client.tracking.search(f"parent = '{sweep.id}'").items
    assert len(children) == 8
    for run in children:
        assert run.status == "succeeded"
        assert run.tags["rung.kind"] == "trial"
        assert run.tags["rung.trial.state"] == "succeeded"
        assert run.metrics["objective"] == pytest.approx((float(run.params["x"]) - 2) ** 2 + (run.params["k"] == "a"))
        assert run.context.seeds["trial"] > 0
    best = min(children, key=lambda run: run.metrics["objective"])
    assert parent.tags["rung.sweep.best"] == best.id == sweep.best.run
    assert parent.metrics["best/objective"] == best.metrics["objective"]
    assert parent.tags["rung.sweep.trials"] == "8 succeeded"


def test_the_frame_of_trials_is_the_same_from_the_platform_and_from_the_tuner(client: Client) -> None:
    sweep = rung.tune(bowl, SPACE, trials=6, seed=1, client=client)
    frame, seen = sweep.trials(), rung.get_sweep(sweep.id, client=client).trials()
    assert frame.columns == ["number", "state", "objective", "params.x", "params.k", "seconds", "started_at", "error", "run"]
    assert frame.schema["params.x"] == pl.Float64
    same = ["number", "state", "objective", "params.x", "params.k", "run"]
    assert frame.select(same).equals(seen.select(same))
    assert sweep.best.params == rung.get_sweep(sweep.id, client=client).best.params
    assert "best: trial" in sweep._repr_html_()


def test_param_importances_are_a_table_of_the_sweep(client: Client) -> None:
    sweep = rung.tune(bowl, SPACE, trials=25, seed=2, client=client)
    shares = sweep.importances()
    assert shares["param"][0] == "x"
    assert shares["importance"].sum() == pytest.approx(1)


def test_the_same_seed_gives_the_same_trials_and_another_gives_others(client: Client) -> None:
    runs = [rung.tune(bowl, SPACE, trials=14, seed=seed, client=client).trials()["params.x"].to_list() for seed in (7, 7, 8)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_trials_that_fall_behind_are_pruned(client: Client) -> None:
    steps: dict[int, int] = {}

    def slow(trial: rung.Trial) -> float:
        for step in range(20):
            trial.report(trial["x"] ** 2 + 1 / (step + 1), step)
            steps[trial.number] = step + 1
            if trial.should_prune():
                raise rung.Pruned(f"at step {step}")
        return float(trial["x"] ** 2)

    sweep = rung.tune(slow, {"x": rung.Float(-9, 9)}, trials=25, seed=5, pruner="median", sampler="random", client=client)
    states = sweep.trials()["state"].to_list()
    assert states[:5] == ["succeeded"] * 5  # the median needs some to compare with
    assert states.count("pruned") >= 5
    for row in sweep.rows:
        run = client.tracking.get(row.run)
        assert run.tags["rung.trial.state"] == row.state
        assert run.status == ("cancelled" if row.state == "pruned" else "succeeded")
        assert len(client.tracking.history(row.run, "objective").points) >= steps[row.number]
        assert steps[row.number] == 20 or row.state == "pruned"
    assert sweep.best.state == "succeeded"


def test_a_metric_logged_by_the_fluent_function_feeds_the_pruner(client: Client) -> None:
    def trains(trial: rung.Trial) -> None:
        for epoch in range(10):
            rung.log_metrics({"loss": trial["x"] + 1 / (epoch + 1), "other": 1.0}, step=epoch)
            if trial.should_prune():
                raise rung.Pruned

    sweep = rung.tune(trains, {"x": rung.Float(0, 9)}, metric="loss", trials=20, seed=3, pruner="median", sampler="random", client=client)
    assert "pruned" in sweep.trials()["state"].to_list()
    best = sweep.best
    assert best.values[0] == pytest.approx(best.params["x"] + 0.1)  # the value logged last


@pytest.mark.parametrize("pruner", ["hyperband", "asha", optuna.pruners.PercentilePruner(25.0, n_startup_trials=2)])
def test_other_pruners_prune(pruner: Any, client: Client) -> None:
    def trains(trial: rung.Trial) -> float:
        for epoch in range(27):
            trial.report(trial["x"], epoch)
            if trial.should_prune():
                raise rung.Pruned
        return float(trial["x"])

    sweep = rung.tune(trains, {"x": rung.Float(0, 1)}, trials=20, seed=1, pruner=pruner, sampler="random", client=client)
    assert "pruned" in sweep.trials()["state"].to_list()


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "nsga2", optuna.samplers.RandomSampler(seed=1)])
def test_samplers_choose_within_the_space(sampler: Any, client: Client) -> None:
    space = {"n": rung.Int(2, 64, log=True), "x": rung.Float(0, 1, step=0.25), "k": rung.Choice("a", 1, True, None, [1, 2])}
    seen: list[Any] = []

    def look(trial: rung.Trial) -> float:
        seen.append(trial["k"])
        assert isinstance(trial["n"], int)
        assert 2 <= trial["n"] <= 64
        assert trial["x"] in {0, 0.25, 0.5, 0.75, 1}
        return float(trial["n"])

    sweep = rung.tune(look, space, trials=12, seed=4, sampler=sampler, client=client)
    assert {row.state for row in sweep.rows} == {"succeeded"}
    assert all(any(value is option or value == option for option in ("a", 1, True, None, [1, 2])) for value in seen)


def test_a_grid_tries_every_point_once(client: Client) -> None:
    space = {"n": rung.Int(1, 3), "k": ["a", "b"]}
    sweep = rung.tune(lambda trial: float(trial["n"]), space, sampler="grid", trials=100, client=client)
    assert [(row.params["n"], row.params["k"]) for row in sweep.rows] == [(n, k) for n in (1, 2, 3) for k in ("a", "b")]
    first = rung.tune(lambda trial: float(trial["n"]), space, sampler="grid", trials=4, name="part", client=client)
    assert len(first.rows) == 4
    rest = rung.tune(lambda trial: float(trial["n"]), space, sampler="grid", trials=9, resume=first.id, client=client)
    assert [(row.params["n"], row.params["k"]) for row in rest.rows] == [(n, k) for n in (1, 2, 3) for k in ("a", "b")]


def test_several_metrics_give_a_front(client: Client) -> None:
    def cost_and_gain(trial: rung.Trial) -> dict[str, float]:
        return {"cost": trial["x"] ** 2, "gain": trial["x"]}

    sweep = rung.tune(
        cost_and_gain, {"x": rung.Float(-3, 3)}, metric=("cost", "gain"), direction=("minimize", "maximize"), trials=20, seed=1,
        client=client,
    )  # fmt: skip
    front = sweep.front
    assert front
    assert sum(row.params["x"] < 0 for row in front) <= 1  # of those below 0 the one nearest to it beats the others
    for row in front:
        assert not any(other.values[0] <= row.values[0] and other.values[1] > row.values[1] for other in sweep.rows)
    assert [row.number for row in rung.get_sweep(sweep.id, client=client).front] == [row.number for row in front]
    assert client.tracking.get(sweep.id).tags["rung.sweep.best"].split() == [row.run for row in front]
    with pytest.raises(Conflict, match="2 metrics"):
        _ = sweep.best


def test_failing_trials_are_recorded_and_the_sweep_goes_on(client: Client) -> None:
    def brittle(trial: rung.Trial) -> float:
        if trial["x"] < 0:
            raise ValueError(f"no root of {trial['x']}")
        if trial["x"] > 4:
            return float("nan")
        return float(trial["x"])

    sweep = rung.tune(brittle, {"x": rung.Float(-5, 5)}, trials=16, seed=2, sampler="random", failures=16, client=client)
    failed = [row for row in sweep.rows if row.state == "failed"]
    assert 0 < len(failed) < 16
    run = client.tracking.get(failed[0].run)
    assert run.status == "failed"
    assert run.tags["rung.trial.state"] == "failed"
    assert any("no root of" in row.error and "brittle" in row.error for row in failed)
    assert sweep.best.values[0] >= 0
    assert client.tracking.get(sweep.id).status == "succeeded"


def test_too_many_failures_in_a_row_end_the_sweep(client: Client) -> None:
    def broken(trial: rung.Trial) -> float:
        raise RuntimeError("no data")

    with pytest.raises(Conflict, match=r"3 trials of the sweep failed in a row: RuntimeError: no data") as told:
        rung.tune(broken, SPACE, trials=50, failures=3, name="broken", client=client)
    assert told.value.code == "tuning.too_many_failures"
    found = client.tracking.search("tags.rung.kind = 'sweep'").items[0]
    assert found.status == "failed"
    assert len(rung.get_sweep(found.id, client=client).rows) == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda t: "high", "no number"),
        (lambda t: None, "logged no objective"),
        (lambda t: {"auc": 1}, "has no 'objective'"),
        (lambda t: (1, 2), "2 values for 1"),
    ],
)
def test_what_is_no_value_fails_the_trial_and_says_why(given: Any, words: str, client: Client) -> None:
    sweep = rung.tune(given, SPACE, trials=1, client=client)
    assert sweep.status == "failed"
    assert words in sweep.rows[0].error


def test_ctrl_c_ends_the_sweep_and_a_resume_repeats_what_was_broken_off(client: Client) -> None:
    calls: list[tuple[int, float]] = []

    def interrupted(trial: rung.Trial) -> float:
        calls.append((trial.number, trial["x"]))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return bowl(trial)

    with pytest.raises(KeyboardInterrupt):
        rung.tune(interrupted, SPACE, trials=6, seed=9, name="bowl", client=client)
    left = client.tracking.search("tags.rung.kind = 'sweep'").items[0]
    assert left.status == "cancelled"
    rows = rung.get_sweep(left.id, client=client).rows
    assert [row.state for row in rows] == ["succeeded"] * 3 + ["cancelled"]

    sweep = rung.tune(interrupted, SPACE, trials=6, name="bowl", resume=True, client=client)
    assert sweep.id == left.id
    assert client.tracking.get(sweep.id).status == "succeeded"
    assert [row.state for row in sweep.rows] == ["succeeded"] * 3 + ["cancelled"] + ["succeeded"] * 3
    assert calls[3][1] == calls[4][1]
    assert client.tracking.get(sweep.rows[4].run).tags["rung.trial.repeats"] == "3"
    whole = rung.tune(bowl, SPACE, trials=6, seed=9, client=client)
    assert sweep.best.params == whole.best.params or sweep.best.values <= whole.best.values


def test_a_sweep_gone_on_with_chooses_as_one_that_was_never_broken_off(client: Client) -> None:
    first = rung.tune(bowl, SPACE, trials=7, seed=11, client=client)
    more = rung.tune(bowl, SPACE, trials=16, resume=first.id, client=client)
    whole = rung.tune(bowl, SPACE, trials=16, seed=11, client=client)
    assert more.trials()["params.x"].to_list() == whole.trials()["params.x"].to_list()


def test_a_finished_sweep_gone_on_with_changes_nothing(client: Client) -> None:
    first = rung.tune(bowl, SPACE, trials=3, seed=1, name="job", client=client)
    again = rung.tune(bowl, SPACE, trials=3, seed=1, name="job", resume=True, client=client)
    assert again.id == first.id
    assert len(again.rows) == 3


def test_another_sweep_is_not_gone_on_with(client: Client) -> None:
    first = rung.tune(bowl, SPACE, trials=1, client=client)
    with pytest.raises(Invalid, match="begun with the space"):
        rung.tune(bowl, {"x": rung.Float(0, 1)}, resume=first.id, client=client)
    with pytest.raises(Invalid, match="begun with the metric"):
        rung.tune(bowl, SPACE, metric="auc", resume=first.id, client=client)
    with pytest.raises(NotFound):
        rung.tune(bowl, SPACE, resume="default:999", client=client)


def test_time_bounds_a_sweep(client: Client) -> None:
    def slow(trial: rung.Trial) -> float:
        time.sleep(0.2)
        return 1.0

    began = time.monotonic()
    sweep = rung.tune(slow, SPACE, seconds=3.0, client=client)
    assert 1 <= len(sweep.rows) <= 16
    assert time.monotonic() - began < 120


def test_threads_work_side_by_side(client: Client) -> None:
    together = threading.Barrier(3, timeout=120)

    def meets(trial: rung.Trial) -> float:
        if trial.number < 3:
            together.wait()
        rung.log_metric("seen", trial.worker)
        assert rung.current_run().id == trial.run.id
        return bowl(trial)

    sweep = rung.tune(meets, SPACE, trials=7, workers=3, threads=True, seed=1, client=client)
    assert [row.state for row in sweep.rows] == ["succeeded"] * 7
    assert {client.tracking.get(row.run).metrics["seen"] for row in sweep.rows} == {0, 1, 2}


def test_a_sweep_is_stopped_from_elsewhere(client: Client) -> None:
    def slow(trial: rung.Trial) -> float:
        time.sleep(0.3)
        if trial.number == 1:
            rung.stop_sweep(str(client.tracking.get(trial.run.id).parent), client=client)
        return 1.0

    sweep = rung.tune(slow, SPACE, trials=200, client=client)
    assert sweep.status == "cancelled"
    assert len(sweep.rows) < 12
    with pytest.raises(Conflict, match="has ended"):
        rung.stop_sweep(sweep.id, client=client)
    more = rung.tune(bowl, SPACE, trials=len(sweep.rows) + 1, resume=sweep.id, client=client)
    assert more.status == "succeeded"


def test_a_sweep_needs_no_platform(home: Path, tmp_path: Path, client: Client) -> None:
    sweep = rung.tune(bowl, SPACE, trials=4, seed=1, name="field", offline=True)
    assert [row.state for row in sweep.rows] == ["succeeded"] * 4
    more = rung.tune(bowl, SPACE, trials=6, resume=sweep.id, offline=True)
    assert len(more.rows) == 6
    from rung.client.places import place_of
    from rung.client.syncing import sync

    place = place_of(client.transport)
    assert {item.outcome for item in sync(place.root, client.transport, place)} == {"sent"}
    seen = rung.get_sweep(sweep.id, client=client)
    assert seen.status == "succeeded"
    assert [row.values for row in seen.rows] == [row.values for row in more.rows]
    assert seen.best.params == more.best.params


def test_a_listener_is_told_of_each_trial(client: Client) -> None:
    told: list[TrialRow] = []
    rung.tune(bowl, SPACE, trials=3, listener=told.append, client=client)
    assert [row.number for row in told] == [0, 1, 2]


def test_a_sweep_inside_a_run_is_its_child(client: Client) -> None:
    with rung.start_run("outer", client=client) as outer:
        sweep = rung.tune(bowl, SPACE, trials=1, client=client)
        assert rung.current_run().id == outer.id
    assert client.tracking.get(sweep.id).parent == outer.id


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"space": {}}, "is empty"),
        ({"space": None}, "no space"),
        ({"sampler": "best"}, "no sampler 'best'"),
        ({"pruner": "scissors"}, "no pruner 'scissors'"),
        ({"direction": "up"}, "no direction 'up'"),
        ({"metric": ("a", "b"), "direction": "minimize"}, "2 metrics have 1"),
        ({"metric": ("a", "b"), "direction": ("minimize", "minimize"), "pruner": "median"}, "Nothing can be pruned"),
        ({"trials": 0}, "trials is 0"),
        ({"trials": 1.5}, "trials is 1.5"),
        ({"seconds": -1}, "seconds is -1"),
        ({"workers": 0}, "workers is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"objective": 3}, "cannot be called"),
        ({"objective": "nowhere.py:objective"}, "no file nowhere.py"),
        ({"objective": "json:objective"}, "no function 'objective'"),
        ({"objective": "json"}, "names no function"),
        ({"sampler": "grid"}, "has no step"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(wrong: dict[str, Any], words: str, client: Client) -> None:
    given = {"objective": bowl, "space": SPACE, "trials": 1, "client": client, **wrong}
    with pytest.raises(Invalid, match=words):
        rung.tune(**given)
    assert not client.tracking.search("tags.rung.kind = 'sweep'").items


def test_a_script_that_begins_a_sweep_while_it_is_loaded_is_told_to_guard_it(client: Client, tmp_path: Path) -> None:
    (tmp_path / "unguarded.py").write_text(
        "import rung\ndef objective(trial): return 1.0\nrung.tune(objective, {'x': rung.Int(1, 2)}, trials=1)\n"
    )
    with pytest.raises(Invalid, match="while it is loaded"):
        rung.tune("unguarded.py:objective", SPACE, trials=1, client=client)


def test_without_optuna_it_says_what_to_install(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Unavailable, match="Sweeps need Optuna") as told:
        rung.tune(bowl, SPACE, trials=1, client=client)
    assert "rung[tune]" in str(told.value.hint)


def test_a_ledger_cut_short_by_a_power_cut_is_gone_on_with(client: Client, home: Path) -> None:
    first = rung.tune(bowl, SPACE, trials=4, seed=1, client=client)
    ledger = home / "spool" / ".sweeps" / first.id / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-20])
    again = rung.tune(bowl, SPACE, trials=5, resume=first.id, client=client)
    done = [row for row in again.rows if row.state == "succeeded"]
    assert len({row.params["x"] for row in done}) == len(done) == 5
