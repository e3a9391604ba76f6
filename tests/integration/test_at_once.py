"""Many who change the same thing at once, on both database engines: everybody's change is there afterwards, and nobody is sent away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from rung.app.local import LocalTransport, local_transport
from rung.core.errors import NotFound
from rung.core.references import DatasetUse
from rung.core.settings import Settings
from rung.data import records as d
from rung.registry import logged as lg
from rung.registry import records as r
from rung.registry.purging import purge_versions
from rung.registry.store import RegistryStore
from rung.storage.queue import Job, QueueStore
from rung.storage.scope import Scope
from rung.storage.slots import SlotStore
from rung.tracking import chunks
from rung.tracking import logged as m
from rung.tracking import records as t
from rung.tracking import traces as tr
from rung.value import records as v

MANY = 12  # more than a transaction that lost a race tries again
NUMBERS = list(range(1, MANY + 1))


@pytest.fixture
def platform(any_settings: Settings) -> Iterator[LocalTransport]:
    """The embedded platform on each engine in turn."""
    opened = local_transport(any_settings)
    yield opened
    opened.close()


def at_once(ask: Callable[[int], Any]) -> list[Any]:
    """What many threads are answered that ask at the same moment, each with its number."""
    start = threading.Barrier(MANY, timeout=120)

    def asked(number: int) -> Any:
        start.wait()
        return ask(number)

    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(asked, NUMBERS))


def tag(number: int) -> dict[str, str | None]:
    return {f"key-{number}": "value"}


TAGS: dict[str, str] = {f"key-{number}": "value" for number in NUMBERS}


def test_experiments_get_numbers_of_their_own(platform: LocalTransport) -> None:
    made = at_once(lambda number: platform.call(t.CreateExperiment(name=f"made-{number}")))
    assert sorted(experiment.number for experiment in made) == NUMBERS
    named = at_once(lambda number: platform.call(t.StartRun(experiment=f"named-{number}")))
    assert len({run.experiment_number for run in named}) == MANY
    shared = at_once(lambda _: platform.call(t.StartRun(experiment="shared")))
    assert sorted(run.number for run in shared) == NUMBERS


def test_tags_of_an_experiment_are_all_kept(platform: LocalTransport) -> None:
    number = platform.call(t.CreateExperiment(name="tagged")).number
    at_once(lambda n: platform.call(t.UpdateExperiment(number=number, tags=tag(n))))
    assert platform.call(t.GetExperiment(number=number)).tags == TAGS


def test_what_processes_say_that_their_run_read_is_all_kept(platform: LocalTransport) -> None:
    run = platform.call(t.StartRun(experiment="shared")).id

    def say(number: int) -> None:
        read = t.Input(name=f"input-{number}", digest=f"{number}", source_type="file", source="x")
        used, link = DatasetUse(dataset="flights", number=number), t.ModelLink(model=f"{number:032x}", direction="out")
        platform.call(t.LogBatch(run=run, params={"depth": 3}, inputs=(read,), datasets=(used,), models=(link,)))

    at_once(say)
    found = platform.call(t.GetRun(run=run))
    assert sorted(int(item.digest) for item in found.inputs) == NUMBERS
    assert sorted(use.number for use in found.datasets) == NUMBERS
    assert sorted(int(link.model, 16) for link in found.models) == NUMBERS


def test_tags_of_a_logged_model_and_of_a_trace_are_all_kept(platform: LocalTransport) -> None:
    model = platform.call(m.CreateLoggedModel(name="late")).id
    trace = platform.call(tr.SaveTrace(trace=tr.Trace(id=f"tr-{model}", experiment_number=0, at=platform.platform.clock.now()))).id
    at_once(lambda n: platform.call(m.UpdateLoggedModel(model=model, tags=tag(n), params={f"key-{n}": "value"})))
    at_once(lambda n: platform.call(tr.TagTrace(trace=trace, tags=tag(n))))
    found = platform.call(m.GetLoggedModel(model=model))
    assert (found.tags, found.params) == (TAGS, TAGS)
    assert platform.call(tr.GetTrace(trace=trace)).tags == TAGS


def test_versions_get_numbers_of_their_own_and_keep_their_tags(platform: LocalTransport) -> None:
    platform.call(r.CreateModel(name="late"))
    made = at_once(lambda _: platform.call(lg.RegisterLogged(model="late", source="s3://elsewhere/model")))
    assert sorted(version.number for version in made) == NUMBERS
    at_once(lambda n: platform.call(lg.UpdateVersion(model="late", number=1, tags=tag(n))))
    at_once(lambda n: platform.call(r.UpdateModel(model="late", tags=tag(n))))
    assert platform.call(r.GetVersion(model="late", number=1)).tags == TAGS
    assert platform.call(r.GetModel(model="late")).tags == TAGS


def test_no_version_is_left_under_the_name_that_its_model_had(platform: LocalTransport) -> None:
    platform.call(r.CreateModel(name="late"))

    def ask(number: int) -> None:
        if number == MANY:
            platform.call(lg.RenameModel(model="late", name="delayed"))
            return
        with suppress(NotFound):  # it was renamed before this one looked
            platform.call(lg.RegisterLogged(model="late", source="s3://elsewhere/model"))

    at_once(ask)
    models = platform.call(r.ListModels())
    assert {version.model for version in platform.call(lg.SearchVersions(limit=100)).items} <= {model.name for model in models}


def test_a_version_that_is_restored_while_the_retired_are_collected_keeps_its_files(
    platform: LocalTransport, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "sqlite":
        pytest.skip("collecting and restoring are both writes, which come one after the other there")
    platform.call(r.CreateModel(name="late"))
    platform.call(lg.RegisterLogged(model="late", source="s3://elsewhere/model"))
    platform.call(lg.DeleteVersion(model="late", number=1))
    take_turn, first = RegistryStore.take_turn, [True]

    def slow(store: RegistryStore, *models: str) -> None:
        if first:
            first.clear()
            restoring = threading.Thread(target=lambda: platform.call(lg.RestoreVersion(model="late", number=1)))
            restoring.start()
            restoring.join()
        take_turn(store, *models)

    monkeypatch.setattr(RegistryStore, "take_turn", slow)
    scope = platform.platform.scope(platform.caller())
    assert scope.write(lambda inside: purge_versions(inside, scope.now + timedelta(days=1))) == 0
    assert not first
    version = platform.call(r.GetVersion(model="late", number=1))
    assert (version.deleted_at, version.purged) == (None, False)


def test_slots_are_taken_by_as_many_as_there_are_and_nobody_is_sent_away(platform: LocalTransport) -> None:
    scope = platform.platform.scope(platform.caller())

    def claim(inside: Scope) -> Job:
        queue = QueueStore(inside.connection)
        queue.add(inside.project, queue="made", kind="run", subject="", now=inside.now)
        job = queue.claim("made", owner="worker", lease=timedelta(minutes=5))
        assert job is not None
        return job

    claims = [scope.write(claim) for _ in NUMBERS]

    def take(number: int) -> bool:
        job = claims[number - 1]
        return scope.write(
            lambda s: SlotStore(s.connection, s.project).take("step gpu", limit=MANY - 1, job=job.id, fence=job.fence, holder=job.id)
        )

    assert sum(at_once(take)) == MANY - 1


def test_definitions_get_numbers_of_their_own(platform: LocalTransport) -> None:
    expected = at_once(lambda _: platform.call(d.SetExpectations(dataset="flights", expectations=())))
    assert sorted(item.number for item in expected) == NUMBERS
    priced = at_once(lambda n: platform.call(v.SetMatrix(model="late", tp=float(n), fp=-1.0)))
    assert sorted(matrix.number for matrix in priced) == NUMBERS


def test_a_point_that_comes_while_the_others_are_packed_is_kept(platform: LocalTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    run = platform.call(t.StartRun(experiment="shared")).id

    def log(*steps: int) -> None:
        platform.call(t.LogBatch(run=run, metrics=tuple(t.MetricPoint(key="loss", value=float(step), step=step) for step in steps)))

    late, cut = threading.Thread(target=log, args=(5,)), chunks.cut

    def slow(points: chunks.Points, size: int) -> Iterator[chunks.Points]:
        late.start()
        late.join(1.0)  # where nothing makes it wait it is there now, before what was packed is removed
        return cut(points, size)

    monkeypatch.setattr("rung.tracking.store.points.PACK_FROM", 4)
    monkeypatch.setattr(chunks, "cut", slow)
    log(0, 10, 20, 30)
    assert platform.call(t.PackMetrics()) == 4
    late.join()
    history = platform.call(t.MetricHistory(run=run, key="loss"))
    assert [point.step for point in history.points] == [0, 5, 10, 20, 30]
