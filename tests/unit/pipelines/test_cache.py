"""What the cache holds can be listed, looked into and dropped, and is asked without a run."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.digests import digest_of
from rung.core.errors import Invalid, NotFound
from rung.core.ids import new_id
from rung.core.settings import Settings
from rung.pipelines.cache_store import CacheStore
from rung.pipelines.caching import KeyAsked, PreviewCache
from rung.pipelines.progress_store import ProgressStore
from rung.pipelines.records import Artifact, Cause, PipelineRun, StepRun
from rung.pipelines.rules import cache_key
from rung.pipelines.store import CacheEntry, PipelineStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _parts(**other: Any) -> dict[str, Any]:
    return {"code": "blake3:c", "params": {}, "inputs": {}, "environment": "blake3:e", "seed": 1, "salt": "", **other}


def _output(text: bytes = b"1") -> Artifact:
    return Artifact(name="output", kind="json", digest=digest_of(text), size_bytes=len(text), inline=text)


def _keep(client: Client, step: str, parts: dict[str, Any], *, at: datetime = NOW, pipeline: str = "train", number: int = 1) -> str:
    """A result in the cache, as a run would have left it."""
    scope = _scope(client)
    run, step_run, key = new_id(), new_id(), cache_key(step, parts)

    def save(inside: Any) -> None:
        store = PipelineStore(inside.connection, inside.project)
        store.add_run(
            PipelineRun(
                id=run, number=number, pipeline=pipeline, status="succeeded", params={}, cause=Cause(), seed=0, use_cache=True, created_at=at,
                created_by="owner",
            )
        )  # fmt: skip
        store.add_steps([StepRun(id=step_run, pipeline_run=run, key=step, step=step, position=0, status="succeeded", cache_key=key)])
        entry = CacheEntry(cache_key=key, step_run=step_run, outputs=(_output(),), parts=parts)
        ProgressStore(inside.connection, inside.project).keep([(entry, step)], at)
        CacheStore(inside.connection, inside.project).describe({"blake3:c": {"units": {"pipelines.py:fit": "blake3:" + "1" * 64}}})

    scope.write(save)
    return key


def _scope(client: Client) -> Any:
    transport: Any = client.transport
    return transport.platform.scope(transport.caller())


def test_the_cache_is_listed_newest_first_and_by_pages(client: Client) -> None:
    for number in range(5):
        _keep(client, "fit", _parts(seed=number), at=NOW + timedelta(hours=number), number=number + 1)
    first = client.cache.list(limit=3)
    rest = client.cache.list(limit=3, after=first.next)
    assert [item.number for item in (*first.items, *rest.items)] == [5, 4, 3, 2, 1]
    assert rest.next is None
    with pytest.raises(Invalid):
        client.cache.list(after="nowhere")


def test_the_cache_is_narrowed_to_a_step_or_a_pipeline(client: Client) -> None:
    _keep(client, "fit", _parts(), pipeline="train")
    _keep(client, "score", _parts(), pipeline="judge")
    assert [item.step for item in client.cache.list(step="score").items] == ["score"]
    assert [item.step for item in client.cache.list(pipeline="train").items] == ["fit"]
    assert [item.size_bytes for item in client.cache.list(pipeline="train").items] == [1]


def test_a_result_is_looked_into_by_the_first_digits_of_its_key(client: Client) -> None:
    key = _keep(client, "fit", _parts())
    found = client.cache.get(key.removeprefix("blake3:")[:10])
    assert found.result.cache_key == key
    assert found.parts["seed"] == 1
    assert "pipelines.py:fit" in found.details["blake3:c"]["units"]
    with pytest.raises(NotFound):
        client.cache.get("0000000000")
    with pytest.raises(NotFound):
        client.cache.get("%")


def test_digits_that_several_keys_begin_with_are_refused(client: Client) -> None:
    keys = [_keep(client, "fit", _parts(seed=number), number=number + 1) for number in range(17)]
    firsts = [key.removeprefix("blake3:")[0] for key in keys]
    twice = next(first for first in firsts if firsts.count(first) > 1)
    with pytest.raises(Invalid, match="Several"):
        client.cache.get(twice)


def test_dropping_is_narrowed_too(client: Client) -> None:
    for number, (step, pipeline) in enumerate((("fit", "train"), ("score", "train"), ("fit", "other"))):
        _keep(client, step, _parts(salt=pipeline), pipeline=pipeline, number=number + 1)
    key = _keep(client, "last", _parts(), at=NOW + timedelta(days=1), number=9)
    assert client.cache.clear(step="score") == 1
    assert client.cache.clear(pipeline="other") == 1
    assert client.cache.clear(before=NOW + timedelta(hours=1)) == 1
    assert client.cache.clear(cache_key=key[:20]) == 1
    assert client.cache.clear() == 0


def test_the_cache_is_asked_without_a_run(client: Client) -> None:
    _keep(client, "fit", _parts(params={"lr": ["json", "blake3:1", {}, "0.1"]}))
    same = _parts(params={"lr": ["json", "blake3:1", {}, "0.1"]})
    other = _parts(params={"lr": ["json", "blake3:2", {}, "0.2"]}, code="blake3:new")
    details = {"blake3:new": {"units": {"pipelines.py:fit": "blake3:" + "2" * 64}}}
    asked = tuple(
        KeyAsked(node=name, step=step, cache_key=cache_key(step, parts), parts=parts, ttl_s=ttl)
        for name, step, parts, ttl in (
            ("a", "fit", same, None),
            ("b", "fit", other, None),
            ("c", "new", same, None),
            ("d", "fit", same, 60.0),
        )
    )
    hit, changed, new, old = client.transport.call(PreviewCache(asked=asked, details=details))
    assert hit.hit is not None
    assert changed.reason == "code pipelines.py:fit changed; parameter lr changed from 0.1 to 0.2"
    assert (new.reason, old.reason) == ("it has no earlier result", "its result is older than 60 s")


def test_two_runs_that_compute_one_key_at_once_leave_one_whole_result(any_settings: Settings) -> None:
    transport = local_transport(any_settings)
    try:
        client = Client(transport)
        scope, parts = _scope(client), _parts()
        key = cache_key("fit", parts)

        def keep(number: int) -> None:
            def save(inside: Any) -> None:
                entry = CacheEntry(cache_key=key, step_run=f"{number:032x}", outputs=(_output(str(number).encode()),), parts=parts)
                ProgressStore(inside.connection, inside.project).keep([(entry, "fit")], NOW)
                CacheStore(inside.connection, inside.project).describe({"blake3:c": {"units": {}}})

            for _ in range(5):
                scope.write(save)

        threads = [threading.Thread(target=keep, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (found,) = client.cache.list().items
        assert found.outputs[0].inline == str(int(found.step_run, 16)).encode()
        assert client.cache.get(key).details == {"blake3:c": {"units": {}}}
    finally:
        transport.close()


def test_another_project_does_not_see_the_cache(client: Client) -> None:
    key = _keep(client, "fit", _parts())
    store = _scope(client).read(lambda s: CacheStore(s.connection, "f" * 32).hits([key]))
    assert store == {}
