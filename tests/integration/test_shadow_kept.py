"""What a shadow has shown outlives the shadow and the rows of the log, and stands in the decision to promote it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rung.app.local import LocalTransport
from rung.cli.main import cli
from rung.core.errors import Conflict
from rung.serving.comparing_records import KeepComparison
from rung.serving.records import CanaryLimits, CompactLog
from tests.integration.releasing import NAME, Release, released


@pytest.fixture
def release(transport: LocalTransport) -> Iterator[Release]:
    held = released(transport)
    yield held
    held.engine.close()


def forget(release: Release) -> None:
    """Remove every row that the log has."""
    release.transport.call(CompactLog())
    assert release.transport.platform.database.write(lambda c: c.exec_driver_sql("DELETE FROM prediction_file").rowcount) > 0


def test_a_comparison_is_kept_when_the_shadow_ends_and_outlives_the_log(release: Release) -> None:
    verbs = release.client.serving
    with pytest.raises(Conflict, match="no shadow"):
        verbs.compare_shadow(NAME)
    verbs.start_shadow(NAME, 3)
    release.ask(200)
    seen = verbs.compare_shadow(NAME)
    verbs.abort_canary(NAME)
    release.settle()
    (kept,) = verbs.shadow_comparisons(NAME)
    assert (kept.pairs, kept.number, kept.agreement, kept.worst) == (200, 3, seen.agreement, seen.worst)
    assert kept.ended_at == verbs.revisions(NAME)[0].created_at
    forget(release)
    release.transport.call(KeepComparison(deployment=NAME))  # an empty log takes nothing away
    assert verbs.shadow_comparisons(NAME) == (kept,)
    assert verbs.compare_shadow(NAME) == kept


def test_each_shadow_has_a_comparison_of_its_own_also_one_that_another_follows(release: Release) -> None:
    verbs = release.client.serving
    verbs.start_shadow(NAME, 3)
    release.ask(120)
    verbs.start_shadow(NAME, 2)
    release.ask(130)
    release.settle()
    (before,) = verbs.shadow_comparisons(NAME)
    assert (before.number, before.pairs) == (3, 120)
    release.transport.call(KeepComparison(deployment=NAME))
    now, before = verbs.shadow_comparisons(NAME)
    assert (now.number, now.pairs, now.ended_at) == (2, 130, None)
    assert (before.number, before.pairs, before.ended_at is None) == (3, 120, False)


def test_the_engine_keeps_it_while_the_shadow_stands(release: Release) -> None:
    release.client.serving.start_shadow(NAME, 3)
    release.ask(150)
    release.transport.call(CompactLog())
    keeper = release.engine._chores._mail[-1]
    keeper._compare([release.transport.platform.database.read(lambda c: c.exec_driver_sql("SELECT project FROM deployment").scalar())])
    (kept,) = release.client.serving.shadow_comparisons(NAME)
    assert (kept.pairs, kept.ended_at) == (150, None)
    assert kept.first_event is not None
    assert kept.last_event == release.at


def test_the_decision_to_promote_a_shadow_says_what_it_showed(release: Release) -> None:
    verbs = release.client.serving
    verbs.start_shadow(NAME, 2)
    release.ask(300)
    verdict = verbs.judge_canary(NAME, CanaryLimits(max_slowdown=1000.0))
    (kept,) = verbs.shadow_comparisons(NAME)
    assert kept.conclusion in verdict.reasons
    revision = verbs.promote_canary(NAME, reason="as good")
    assert revision.reason == f"as good. {kept.conclusion}"


def test_the_command_line_shows_it_afterwards(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    release.client.serving.start_shadow(NAME, 3)
    release.ask(120)
    release.client.serving.abort_canary(NAME)
    release.settle()
    monkeypatch.setenv("RUNG_HOME", str(release.transport.platform.settings.home_path))
    told = CliRunner().invoke(cli, ["endpoint", "shadow", NAME])
    assert "late:3 is a shadow no more. The shadow agrees" in told.output
    assert "late" in CliRunner().invoke(cli, ["endpoint", "shadow", NAME, "--all"]).output
    assert "Shadow late:3: The shadow agrees" in CliRunner().invoke(cli, ["endpoint", "show", NAME]).output
