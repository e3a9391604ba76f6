"""The engine calls triggers: by events of every floor, by time, by a repository, and as the project declares them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rung.app.local import LocalTransport
from rung.app.opening import open_platform
from rung.client.client import Client
from rung.core.clock import FixedClock
from rung.core.errors import AlreadyExists, Invalid
from rung.core.settings import Settings, load_settings
from rung.engine.loop import Engine
from rung.pipelines.project import forget_modules

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
TOML = 'home = ".rung"\npipelines = ["pipelines"]\n'
CODE = """
from rung import pipeline, step


@step
def load(rows: int, told: str) -> str:
    if rows < 0:
        raise ValueError("less than nothing")
    return told


@pipeline
def train(rows: int = 1, dataset: str = "", end: str = ""):
    return load(rows, dataset + end)


@pipeline
def report(after: str = ""):
    return load(2, after)
"""


class Bench:
    """A project folder, a platform whose clock is moved by hand, and an engine."""

    def __init__(self, folder: Path, settings: Settings, clock: FixedClock) -> None:
        self.folder, self.clock = folder, clock
        self.platform, first = open_platform(settings, clock)
        self.transport = LocalTransport(self.platform, token=first.secret if first else "")
        self.client = Client(self.transport)
        self.engine = Engine(self.platform)
        self.engine.register()

    def work(self, **forward: float) -> None:
        """Let the time pass, and the engine do what there is."""
        self.clock.advance(timedelta(**forward))
        self.engine.run_until_idle(60)

    def outcomes(self, name: str) -> list[str]:
        """Answers of a trigger, oldest first."""
        return [fire.outcome for fire in self.client.triggers.history(name, limit=1000)][::-1]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "project"
    made.mkdir()
    (made / "rung.toml").write_text(TOML)
    (made / "pipelines.py").write_text(CODE)
    yield made
    forget_modules(made.resolve())
    if str(made.resolve()) in sys.path:
        sys.path.remove(str(made.resolve()))


@pytest.fixture
def bench(folder: Path) -> Iterator[Bench]:
    made = Bench(folder, load_settings(folder, environ={}), FixedClock(START))
    yield made
    made.engine.stop()
    made.client.close()


def test_a_new_dataset_version_starts_a_run_that_takes_it(bench: Bench) -> None:
    bench.client.triggers.add("on-flights", "train", dataset="flights")
    bench.client.data.add("flights", pl.DataFrame({"x": [1, 2]}))
    bench.client.data.add("other", pl.DataFrame({"x": [1]}))
    bench.work()
    (fire,) = bench.client.triggers.history("on-flights")
    assert (fire.outcome, fire.cause) == ("fired", "flights:1")
    run = bench.client.pipelines.get(str(fire.pipeline_run)).run
    assert (run.status, run.params) == ("succeeded", {"dataset": "flights:1"})
    edges = bench.client.governance.trace("pipeline_run", run.id)
    assert edges


def test_enough_new_rows_start_a_run_and_the_count_begins_anew(bench: Bench) -> None:
    bench.client.triggers.add("rows", "train", dataset="flights", min_rows=100)
    for rows in (60, 110, 150, 215):
        bench.client.data.add("flights", pl.DataFrame({"x": range(rows)}))
        bench.work()
    assert bench.outcomes("rows") == ["not_met", "fired", "not_met", "fired"]
    told = [fire.reason for fire in bench.client.triggers.history("rows")]
    assert told[1] == "40 new rows have come with flights:3 since flights:2; 100 are asked for."


def test_one_pipeline_follows_another_that_succeeded(bench: Bench) -> None:
    bench.client.triggers.add("then", "report", after="train")
    bench.client.triggers.add("alas", "report", after="train", status="failed")
    run = bench.client.pipelines.run("train", wait=False)
    bench.work()
    assert bench.client.pipelines.get(run.id).run.status == "succeeded"
    assert (bench.outcomes("then"), bench.outcomes("alas")) == (["fired"], ["not_met"])
    bench.client.pipelines.run("train", {"rows": -1}, wait=False)
    bench.work()
    assert (bench.outcomes("then"), bench.outcomes("alas")) == (["fired", "not_met"], ["not_met", "fired"])


def test_what_ends_during_a_round_is_told_before_the_engine_calls_itself_idle(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.client.triggers.add("then", "report", after="train")
    deliver = bench.engine._deliver

    def slowly() -> bool:
        found = deliver()
        time.sleep(0.3)  # the run ends here, after the events of this round were looked for
        return found

    monkeypatch.setattr(bench.engine, "_deliver", slowly)
    for number in range(3):
        bench.client.pipelines.run("train", {"rows": number}, wait=False)
        bench.work()
        assert bench.outcomes("then") == ["fired"] * (number + 1)


def test_pipelines_that_would_follow_each_other_in_a_circle_are_refused(bench: Bench) -> None:
    bench.client.triggers.add("then", "report", after="train")
    with pytest.raises(Invalid, match="circle"):
        bench.client.triggers.add("back", "train", after="report")
    with pytest.raises(Invalid, match="itself"):
        bench.client.triggers.add("self", "train", after="train")


def test_a_queued_cause_starts_by_itself_when_the_run_before_has_ended(bench: Bench) -> None:
    bench.client.triggers.add("one", "train", manual=True, concurrency="queue")
    assert [bench.client.triggers.fire("one", {"rows": n}).outcome for n in (1, 2, 3)] == ["fired", "waiting", "waiting"]
    bench.work()
    bench.work(seconds=31)
    bench.work(seconds=31)
    assert bench.outcomes("one") == ["fired"] * 3
    assert sorted(run.params["rows"] for run in bench.client.pipelines.runs("train").items) == [1, 2, 3]


def test_a_schedule_hands_over_the_period_it_is_about(bench: Bench) -> None:
    bench.client.triggers.add("nightly", "train", cron="0 6 * * *", zone="Europe/Berlin", take={"end": "end"})
    bench.work(hours=17)  # to 29 March 05:00 UTC, past 06:00 in Berlin, whose clocks jumped that night
    (fire,) = bench.client.triggers.history("nightly")
    assert (fire.cause, fire.params) == ("2026-03-29T04:00:00+00:00", {"end": "2026-03-29T04:00:00+00:00"})
    assert fire.facts["start"] == "2026-03-28T05:00:00+00:00"


def test_of_ten_thousand_missed_times_each_kept_one_fires_once_and_the_rest_is_told(bench: Bench) -> None:
    bench.client.triggers.add("hourly", "train", cron="0 * * * *", catch_up="all", dry=True)
    bench.clock.advance(timedelta(hours=10_000))
    bench.engine.tick()
    bench.engine.tick()
    bench.clock.at = START  # a token would have run out by then
    fires = bench.client.triggers.history("hourly", limit=1000)
    assert [fire.outcome for fire in fires].count("dry") == 100
    assert len({fire.cause for fire in fires}) == len(fires) == 101
    assert next(fire.reason for fire in fires if fire.outcome == "held_back").startswith(
        "9900 fire times from 2026-03-28T13:00:00+00:00 on"
    )


def test_two_engines_with_skewed_clocks_fire_each_time_once(bench: Bench) -> None:
    bench.client.triggers.add("hourly", "train", cron="0 * * * *", dry=True)
    ahead, _ = open_platform(load_settings(bench.folder, environ={}), FixedClock(START + timedelta(minutes=62)))
    fast = Engine(ahead)
    fast.tick()
    for _ in range(6):
        bench.clock.advance(timedelta(minutes=30))
        fast.platform.clock.advance(timedelta(minutes=30))  # type: ignore[attr-defined]
        bench.engine.tick()
        fast.tick()
    fast.stop()
    ahead.close()
    causes = [fire.cause for fire in bench.client.triggers.history("hourly")]
    assert sorted(causes) == [f"2026-03-28T{hour}:00:00+00:00" for hour in (13, 14, 15, 16)]


def test_a_clock_that_was_ten_years_ahead_stops_no_schedule(bench: Bench) -> None:
    bench.client.triggers.add("hourly", "train", cron="0 * * * *", dry=True)
    bench.clock.advance(timedelta(days=3650))
    bench.engine.tick()
    bench.clock.at = START + timedelta(minutes=30)
    bench.engine._chores.clock._heal_at = 0.0
    bench.engine.tick()
    bench.clock.advance(timedelta(hours=1))
    bench.engine.tick()
    assert bench.client.triggers.history("hourly")[0].cause == "2026-03-28T13:00:00+00:00"


def test_one_broken_schedule_keeps_no_other_waiting(bench: Bench) -> None:
    bench.client.triggers.add("a", "train", cron="0 * * * *")
    bench.client.triggers.add("b", "train", cron="0 * * * *")
    trigger = bench.client.triggers.get("a")
    from rung.pipelines.trigger_store import TriggerStore

    scope = bench.transport.platform.scope(bench.platform.service("default"))
    scope.write(lambda inside: TriggerStore(inside.connection, inside.project).update_trigger(trigger.id, options={"cron": "broken"}))
    bench.work(hours=1)
    assert (bench.outcomes("a"), bench.outcomes("b")) == ([], ["fired"])


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, path: str, text: str) -> str:
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", f"Change {path}")
    return git(folder, "rev-parse", "HEAD")


def test_commits_in_a_local_repository_start_runs_when_they_touch_the_paths(bench: Bench, tmp_path: Path) -> None:
    repository = tmp_path / "code"
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main")
    (repository / ".git" / "hooks").mkdir(exist_ok=True)
    first = commit(repository, "src/train.py", "1")
    bench.client.triggers.add("on-push", "train", push=True, folder=str(repository), paths=["src/*"], take={"end": "after"}, every="1s")

    def look() -> None:
        bench.engine._chores.clock._folders_at = 0.0
        bench.engine._chores.clock._watch_at.clear()
        bench.work()

    look()
    look()
    commit(repository, "README.md", "1")
    look()
    last = commit(repository, "src/train.py", "2")
    look()
    look()
    fires = bench.client.triggers.history("on-push")[::-1]
    assert [fire.outcome for fire in fires] == ["not_met", "not_met", "fired"]
    assert first[:12] in fires[0].reason
    assert fires[2].params == {"end": last}
    assert fires[2].facts["paths"] == ["src/train.py"]
    assert fires[2].facts["pusher"] == "Ada"


def test_a_repository_that_is_not_there_stops_nothing(bench: Bench) -> None:
    bench.client.triggers.add("on-push", "train", push=True, folder="nowhere", branch="-x --upload-pack=evil")
    bench.work()
    assert bench.outcomes("on-push") == []


def declare(folder: Path, text: str, code: str = "") -> None:
    (folder / "rung.toml").write_text(TOML + text)
    (folder / "pipelines.py").write_text(CODE + code)


NIGHTLY = '[triggers.nightly]\npipeline = "train"\ncron = "0 6 * * *"\ncooldown = "12h"\nquiet = "22:00-05:00"\nmost = "2/week"\n'


def test_triggers_of_the_file_and_of_code_come_change_and_go_with_them(bench: Bench) -> None:
    declare(bench.folder, NIGHTLY, "\nfrom rung import trigger\nby_data = trigger('by-data', train, dataset='flights')\n")
    bench.engine.register()
    held = {trigger.name: trigger for trigger in bench.client.triggers.list()}
    assert {name: trigger.source for name, trigger in held.items()} == {"nightly": "rung.toml", "by-data": "code"}
    guards = held["nightly"].guards
    assert (guards.cooldown_s, guards.quiet, guards.most, guards.most_period) == (43_200.0, ("22:00-05:00",), 2, "week")
    syncs = [event for event in bench.client.governance.audit(limit=500).items if event.operation == "pipelines.sync_triggers"]
    bench.engine.register()
    Engine(bench.platform).register()
    audited = bench.client.governance.audit(limit=500).items
    assert [event for event in audited if event.operation == "pipelines.sync_triggers"] == syncs  # what is the same is not written again
    bench.client.triggers.pause("nightly")
    declare(bench.folder, NIGHTLY.replace("12h", "13h"))
    bench.engine.register()
    (nightly,) = bench.client.triggers.list()
    assert (nightly.id, nightly.guards.cooldown_s, nightly.paused) == (held["nightly"].id, 46_800.0, True)
    declare(bench.folder, "")
    bench.engine.register()
    assert bench.client.triggers.list() == ()


def test_a_declared_trigger_is_changed_where_it_is_declared(bench: Bench) -> None:
    declare(bench.folder, NIGHTLY)
    bench.engine.register()
    for change in (lambda: bench.client.triggers.remove("nightly"), lambda: bench.client.triggers.edit("nightly", cooldown="1h")):
        with pytest.raises(Invalid, match=r"rung\.toml"):
            change()


def test_a_declared_name_that_exists_by_hand_is_an_error(bench: Bench) -> None:
    bench.client.triggers.add("nightly", "train", cron="0 5 * * *")
    declare(bench.folder, NIGHTLY)
    with pytest.raises(AlreadyExists, match="nightly"):
        bench.client.triggers.sync(bench.folder)
    assert bench.client.triggers.get("nightly").options == {"cron": "0 5 * * *"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ('pipeline = "train"\ncron = 5', "cron"),
        ('pipeline = "train"', "listens to nothing"),
        ('pipeline = "train"\ncron = "0 6 * * *"\ndataset = "x"', "dataset and cron"),
        ('pipeline = "train"\ncron = "0 6 * * *"\ncoldown = "1h"', "coldown"),
        ('pipeline = "train"\ncron = "0 6 * * *"\ncooldown = "soon"', "soon"),
        ('pipeline = "train"\ncron = "0 6 * * *"\nmost = "2/fortnight"', "2/fortnight"),
        ('cron = "0 6 * * *"', "names no pipeline"),
    ],
)
def test_a_declaration_that_cannot_be_read_names_what_is_wrong(bench: Bench, words: str, told: str) -> None:
    declare(bench.folder, f"[triggers.x]\n{words}\n")
    with pytest.raises(Invalid) as caught:
        bench.client.triggers.sync(bench.folder)
    assert told in str(caught.value)
    assert bench.client.triggers.list() == ()


def test_a_bad_declaration_stops_no_pipeline_but_is_told_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    declare(bench.folder, '[triggers.x]\npipeline = "trane"\ncron = "0 6 * * *"\n')
    for _ in range(3):
        bench.engine.register()
    assert [record.getMessage() for record in caplog.records if "trane" in record.getMessage()] == [
        "the triggers are not as the project declares them: There is no pipeline 'trane'. The project has: report, train."
    ]
    assert bench.client.pipelines.run("train").status == "succeeded"


def test_a_trigger_is_edited_in_place(bench: Bench) -> None:
    made = bench.client.triggers.add("rows", "train", dataset="flights", min_rows=100, cooldown="1h", most="2/week")
    held = bench.client.triggers.edit("rows", min_rows=50, cooldown="2h", params={"rows": 3})
    assert (held.id, held.options, held.subject) == (made.id, {"min_rows": 50}, "flights")
    assert (held.guards.cooldown_s, held.guards.most, held.params) == (7_200.0, 2, {"rows": 3})
    assert "There is no dataset 'flights' yet." in held.warnings
    with pytest.raises(Invalid):
        bench.client.triggers.edit("rows", min_rows=-1)
    assert bench.client.triggers.get("rows").options == {"min_rows": 50}


def test_what_a_trigger_would_do_is_told_without_doing_it(bench: Bench) -> None:
    bench.client.triggers.add("rows", "train", dataset="flights", min_rows=100, quiet="00:00-24:00")
    facts: dict[str, Any] = {"dataset": "flights:1", "name": "flights", "number": 1, "rows": 5}
    assert bench.client.triggers.test("rows", facts).outcome == "not_met"
    told = bench.client.triggers.test("rows", {**facts, "rows": 500})
    assert (told.outcome, [check.guard for check in told.checks if not check.passed]) == ("held_back", ["quiet"])
    assert bench.client.triggers.history() == ()
    assert bench.client.pipelines.runs("train").items == ()


def test_a_run_that_somebody_called_for_is_no_automatic_one(bench: Bench) -> None:
    bench.client.triggers.add("retrain", "train", decision="api")
    fire = bench.client.triggers.fire("retrain")
    cause = bench.client.pipelines.get(str(fire.pipeline_run)).run.cause
    assert (cause.kind, cause.trigger, cause.reason) == ("manual", fire.trigger, "owner called it by hand.")


def test_the_next_times_are_told_in_the_zone(bench: Bench) -> None:
    bench.client.triggers.add("nightly", "train", cron="30 2 * * *", zone="Europe/Berlin")
    assert [item.local_time for item in bench.client.triggers.next(count=2)] == ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]
    bench.client.triggers.pause("nightly")
    assert bench.client.triggers.next() == ()
