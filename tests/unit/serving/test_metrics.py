"""Counts of several processes add up, and what a process gathered is there when it is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rung.core.ids import new_id
from rung.serving.exposing import exposed
from rung.serving.metrics import BOARD, BUCKETS, Board


def test_processes_add_up_and_a_fork_counts_from_nought(tmp_path: Path) -> None:
    board = Board(str(tmp_path))
    meter = board.meter("p", "d", "1")
    meter.answered(0.002, 3, 50.0)
    child = os.fork()
    if child == 0:
        board.forked()
        meter.answered(0.2, 2, 10.0)
        meter.refused(503, 0.1)
        board.meter("p", "other", "2").answered(0.001, 1, 5.0)
        board.fold()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    one, other = board.counts()
    assert (one.deployment, one.by_status, one.rows, one.compute_us) == ("d", {"200": 2.0, "503": 1.0}, 5.0, 60.0)
    assert (other.deployment, other.version, other.succeeded, other.failed) == ("other", "2", 1.0, 0.0)


def test_a_process_that_is_just_beginning_keeps_nobody_from_the_numbers(tmp_path: Path) -> None:
    board = Board(str(tmp_path))
    board.meter("p", "d", "1").answered(0.002, 3, 50.0)
    (tmp_path / "1-fresh.cells").touch()  # made, and not yet as large as it will be
    (counts,) = board.counts()
    assert counts.rows == 3.0


def test_buckets_are_cumulative_and_end_with_all() -> None:
    board = Board()
    meter = board.meter("p", "d", "1")
    for seconds in (0.0001, 0.002, 0.002, 99.0):
        meter.answered(seconds, 1, 1.0)
    (counts,) = board.counts()
    found = dict(counts.buckets)
    assert (found["0.00025"], found["0.0025"], found[str(BUCKETS[-1])], found["+Inf"]) == (1.0, 3.0, 3.0, 4.0)


def test_more_than_is_gathered_at_once_is_counted_too() -> None:
    board = Board()
    meter = board.meter("p", "d", "1")
    for _ in range(10_000):
        meter.answered(0.001, 2, 1.0)
    (counts,) = board.counts()
    assert (counts.succeeded, counts.rows, counts.runs) == (10_000.0, 20_000.0, 10_000.0)


def test_durations_and_executions_add_up_by_batch_size_over_processes(tmp_path: Path) -> None:
    board = Board(str(tmp_path))
    meter = board.meter("p", "d", "1")
    meter.answered(0.002, 3, 50.0, 7.0, input_s=0.0001, output_s=0.0002)
    meter.answered(0.002, 3, 30.0, 0.0, input_s=0.0001, output_s=0.0002)
    meter.refused(400, 0.5)
    child = os.fork()
    if child == 0:
        board.forked()
        for _ in range(3):  # three requests of two rows that were scored together in 90 us
            meter.answered(0.001, 2, 90.0, 11.0, input_s=0.001, output_s=0.002, batches=((6, 1 / 3, 90.0),))
        meter.answered(0.001, 40, 5.0, batches=((25, 1.0, 3.0), (15, 1.0, 2.0)))  # two arms of one request
        board.fold()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    (one,) = board.counts()
    assert (one.runs, round(one.executions), one.rows) == (6.0, 5, 52.0)
    assert one.compute_us == pytest.approx(50 + 30 + 270 + 5)
    assert one.queue_us == pytest.approx(7 + 33)
    assert one.input_s == pytest.approx(0.0002 + 0.003)
    assert one.output_s == pytest.approx(0.0004 + 0.006)
    assert one.busy_us == pytest.approx(50 + 30 + 90 + 5)
    found = {batch.size: batch for batch in one.batches}
    assert {size: round(batch.executions) for size, batch in found.items()} == {3: 2, 6: 1, 15: 1, 32: 1}  # from 17 on powers of two
    assert found[3].compute_us == pytest.approx(80)
    assert found[6].compute_us == pytest.approx(90)
    assert found[6].input_s == pytest.approx(0.003)
    assert found[6].output_s == pytest.approx(0.006)
    assert found[32].compute_us == pytest.approx(3)


@dataclass(eq=False)
class _Log:
    """What the board reads of a prediction log."""

    rows: dict[str, int] = field(default_factory=dict)
    shed: dict[str, int] = field(default_factory=dict)


def test_what_logs_keep_and_shed_is_counted_once_in_every_process(tmp_path: Path) -> None:
    board, log = Board(str(tmp_path)), _Log()
    board.watch("p", log)
    log.rows["d"], log.shed["d"] = 7, 2
    child = os.fork()
    if child == 0:
        board.forked()
        log.rows["d"] += 3
        board.fold()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for _ in range(2):
        (found,) = board.of_logs()
        assert (found.project, found.deployment, found.logged, found.shed) == ("p", "d", 10.0, 2.0)
    assert board.counts() == []


def test_equal_names_in_two_projects_are_told_apart() -> None:
    one, other = new_id(), new_id()
    BOARD.projects[one] = "north"
    BOARD.meter(one, "twin", "1").answered(0.001, 2, 5.0)
    BOARD.meter(other, "twin", "1").answered(0.001, 3, 5.0)
    log = _Log({"twin": 5}, {"twin": 1})
    BOARD.watch(other, log)
    told = exposed().decode().splitlines()
    assert 'rung_rows_total{deployment="twin",project="north"} 2.0' in told
    assert f'rung_rows_total{{deployment="twin",project="{other}"}} 3.0' in told
    assert f'nv_inference_count{{model="twin",project="{other}",version="1"}} 3.0' in told
    assert f'rung_predictions_logged_total{{deployment="twin",project="{other}"}} 5.0' in told
    assert f'rung_predictions_shed_total{{deployment="twin",project="{other}"}} 1.0' in told
