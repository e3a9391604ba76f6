"""Load during releases, restarts and kills: no request fails but those in flight in a killed process, and none answered is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.storming import NAME, Serving, Storm, serving
from tests.servers import wait_until

pytestmark = pytest.mark.timeout(900)


def _reach(storm: Storm, share: float) -> None:
    def reached() -> bool:
        assert len([failure for failure in storm.failures if not failure.retried]) <= 2 * storm.connections, storm.failures[:5]
        return len(storm.answered) >= storm.total * share

    wait_until(reached, 300, lambda: f"{len(storm.answered)} answered; {storm.failures[:5]}")


def _releases(held: Serving, storm: Storm) -> float:
    """Ten new revisions, a canary, a rollback and a kill -9 while the storm blows; the instant of the kill."""
    verbs = held.client.serving

    def answers(number: int, before: int) -> None:
        wait_until(lambda: storm.versions[str(number)] > before, 120, lambda: f"{number} does not answer: {storm.versions}")

    for step in range(10):
        _reach(storm, 0.05 + step * 0.05)
        number, before = 2 - step % 2, storm.versions[str(2 - step % 2)]
        verbs.deploy(NAME, NAME, number, environment="staging")
        answers(number, before)
    _reach(storm, 0.6)
    verbs.start_canary(NAME, 3, share=0.3)
    answers(3, 0)
    _reach(storm, 0.7)
    killed_at = time.monotonic()
    os.kill(held.workers()[0], signal.SIGKILL)
    _reach(storm, 0.8)
    verbs.abort_canary(NAME)
    _reach(storm, 0.85)
    verbs.rollback(NAME)
    return killed_at


@pytest.mark.parametrize("total", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_only_requests_in_flight_in_a_killed_worker_fail_and_one_retry_succeeds(tmp_path: Path, total: int) -> None:
    with serving(tmp_path, "--workers", "3") as held:
        storm = Storm(held.port, held.token, total, blows=True)
        thread = storm.start()
        try:
            killed_at = _releases(held, storm)
        finally:
            storm.blows = False
        thread.join(600)
        assert len(storm.answered) == storm.asked >= total, storm.failures[:10]
        assert all(failure.retried and 0 <= failure.at - killed_at < 60.0 for failure in storm.failures), storm.failures
        assert len(storm.failures) <= storm.connections
        assert set(storm.versions) == {"1", "2", "3"}
        wait_until(lambda: len(held.workers()) >= 3, 90, held.log.read_text)
        held.kill()
        logged = held.client.serving.predictions(NAME)["prediction_id"].to_list()
        assert set(storm.answered) <= set(logged)
        assert len(logged) - len(set(logged)) <= len(storm.failures)  # logged by the killed worker, and again by the retry's


def test_replacing_all_workers_under_load_fails_no_request(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as held:
        before = set(held.workers())
        storm = Storm(held.port, held.token, 3_000, connections=32, blows=True)
        thread = storm.start()
        try:
            _reach(storm, 0.2)
            held.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "Workers were replaced" in held.log.read_text(), 120, held.log.read_text)
            storm.total = storm.asked + 400
        finally:
            storm.blows = False
        thread.join(300)
        assert storm.failures == []
        wait_until(lambda: not before & set(held.workers()), 60, held.log.read_text)
        held.process.send_signal(signal.SIGTERM)
        assert held.process.wait(90) == 0
        assert set(storm.answered) <= set(held.client.serving.predictions(NAME)["prediction_id"].to_list())
