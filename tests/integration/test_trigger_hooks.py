"""Triggers that are called over HTTP, at a real server: signed calls start runs, all others learn nothing."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from typing import Any

import httpx
import msgspec
import pytest

from rung.client.client import Client
from rung.client.transports import HttpTransport
from rung.core.clock import EPOCH
from rung.core.errors import Denied, Invalid
from rung.pipelines.hooks import signature
from rung.pipelines.records import ParamSpec, PipelineInfo, RegisterPipelines
from rung.pipelines.triggering import Trigger
from tests.servers import RunningServer

BODY = b'{"params": {"rows": 5}}'


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    transport = HttpTransport(server.url, server.token)
    info = PipelineInfo(name="train", target="m:train", doc="", code="", seen_at=EPOCH, steps=(), params=_params())
    transport.call(RegisterPipelines(pipelines=(info,)))
    with Client(transport) as made:
        yield made


def _params() -> tuple[ParamSpec, ...]:
    return (ParamSpec(name="rows", type="int", required=False, default=1), ParamSpec(name="commit", type="str", required=False, default=""))


@pytest.fixture
def hook(client: Client) -> Trigger:
    return client.triggers.add(f"hook-{len(client.triggers.list())}", "train", webhook=True, accept=["rows"])


def post(server: RunningServer, trigger: Trigger, body: bytes = BODY, headers: dict[str, str] | None = None) -> httpx.Response:
    stamp = str(int(time.time()))
    signed = {"X-Rung-Timestamp": stamp, "X-Rung-Signature": signature(trigger.secret, stamp, body)}
    return httpx.post(f"{server.url}{trigger.hook}", content=body, headers=signed if headers is None else headers, timeout=30)


def test_a_signed_call_starts_a_run_and_its_replay_does_not(server: RunningServer, client: Client, hook: Trigger) -> None:
    body = b'{"cause": "order 7", "params": {"rows": 5}}'
    first, again = post(server, hook, body), post(server, hook, body)
    assert first.status_code == again.status_code == 202
    told = first.json()
    assert (told["outcome"], told["trigger"]) == ("fired", hook.name)
    assert again.json() == told
    run = client.pipelines.get(told["pipeline_run"]).run
    assert (run.params, run.cause.kind, run.cause.trigger) == ({"rows": 5}, "webhook", hook.id)
    assert [fire.called_by for fire in client.triggers.history(hook.name)] == ["rung"]


def test_the_sender_sets_only_the_parameters_that_are_accepted(server: RunningServer, hook: Trigger) -> None:
    told = post(server, hook, b'{"params": {"commit": "x"}}').json()
    assert told["outcome"] == "not_met"
    assert "may not set commit" in told["reason"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
def test_a_signed_body_that_is_no_object_is_refused(server: RunningServer, hook: Trigger, body: bytes) -> None:
    answer = post(server, hook, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "pipelines.bad_hook")


def test_what_is_forged_or_not_signed_is_denied_and_starts_nothing(server: RunningServer, client: Client, hook: Trigger) -> None:
    stamp = str(int(time.time()))
    bad = [
        {},
        {"X-Rung-Timestamp": stamp, "X-Rung-Signature": "v1=" + "0" * 64},
        {"X-Rung-Timestamp": stamp, "X-Rung-Signature": signature("guessed", stamp, BODY)},
        {"X-Rung-Timestamp": str(int(stamp) - 400), "X-Rung-Signature": signature(hook.secret, str(int(stamp) - 400), BODY)},
        {"Authorization": f"Bearer {server.token}"},
        {"X-Gitlab-Token": hook.secret},
    ]
    for headers in bad:
        answer = post(server, hook, headers=headers)
        assert answer.status_code == 403
        assert hook.secret not in answer.text
    assert client.triggers.history(hook.name) == ()


def test_no_address_but_its_own_is_known(server: RunningServer, hook: Trigger) -> None:
    for path in (hook.hook[:-1] + "x", "/hooks/" + "a" * 5000, "/hooks/%00", "/hooks/" + hook.id):
        assert httpx.post(f"{server.url}{path}", content=BODY, timeout=60).status_code == 404
    assert httpx.get(f"{server.url}{hook.hook}", timeout=60).status_code == 405


def test_a_body_that_is_too_large_is_refused_before_it_is_read_whole(server: RunningServer, hook: Trigger) -> None:
    assert post(server, hook, b'{"a": "' + b"x" * (300 << 10) + b'"}').json()["error"]["code"] == "request.too_large"
    try:
        answer = httpx.post(f"{server.url}{hook.hook}", content=(b"x" * (1 << 20) for _ in range(64)), timeout=30)
    except httpx.TransportError:
        return  # the server stopped listening, which is the point
    assert answer.json()["error"]["code"] == "request.too_large"


def test_an_address_that_is_called_too_often_answers_when_to_come_again(server: RunningServer, client: Client) -> None:
    hook = client.triggers.add("busy", "train", webhook=True, most="1/day")
    with httpx.Client(timeout=60) as calling:
        answers = [calling.post(f"{server.url}{hook.hook}", content=BODY) for _ in range(90)]
    assert {answer.status_code for answer in answers} == {403, 429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)


def test_a_new_secret_takes_over_after_its_grace(server: RunningServer, client: Client, hook: Trigger) -> None:
    fresh = client.triggers.rotate(hook.name, grace_s=60)
    assert fresh.secret != hook.secret
    assert post(server, hook, b'{"cause": "old"}').status_code == post(server, fresh, b'{"cause": "new"}').status_code == 202
    last = client.triggers.rotate(hook.name)
    assert post(server, fresh, b"{}").status_code == 403
    assert post(server, last, b"{}").status_code == 202


def test_the_secret_is_told_once_and_kept_out_of_lists_and_audit(server: RunningServer, client: Client, hook: Trigger) -> None:
    given = client.triggers.add("given", "train", webhook=True, secret="chosen by ourselves")
    assert given.secret == "chosen by ourselves"
    seen = msgspec.json.encode([client.triggers.list(), client.triggers.get("given"), client.governance.audit(limit=200)])
    assert hook.secret.encode() not in seen
    assert b"chosen by ourselves" not in seen
    with pytest.raises(Invalid, match="guessed"):
        client.triggers.add("weak", "train", webhook=True, secret="short")


def push(**more: Any) -> dict[str, Any]:
    return {
        "ref": "refs/heads/main", "before": "a" * 40, "after": "b" * 40, "repository": {"full_name": "team/flights"},
        "commits": [{"modified": ["src/train.py"]}], **more,
    }  # fmt: skip


def test_github_and_gitlab_pushes_start_runs_with_the_commit(server: RunningServer, client: Client) -> None:
    hook = client.triggers.add("on-push", "train", push="team/flights", paths=["src/*"])
    body = msgspec.json.encode(push())
    github = {"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + hmac.new(hook.secret.encode(), body, sha256).hexdigest()}
    first, again = (post(server, hook, body, {**github, "X-GitHub-Delivery": str(n)}) for n in range(2))
    assert first.json()["outcome"] == "fired"
    assert again.json() == first.json()
    assert client.pipelines.get(first.json()["pipeline_run"]).run.params == {"commit": "b" * 40}
    gitlab = {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": hook.secret}
    told = {"project": {"path_with_namespace": "team/flights"}, "object_kind": "push", "total_commits_count": 1}
    second = post(server, hook, msgspec.json.encode(push(**told, before="b" * 40, after="c" * 40)), gitlab)
    assert second.json()["outcome"] == "fired"
    docs = msgspec.json.encode(push(before="c" * 40, after="d" * 40, commits=[{"modified": ["README.md"]}]))
    assert post(server, hook, docs, gitlab).json()["outcome"] == "not_met"
    elsewhere = msgspec.json.encode(push(repository={"full_name": "team/other"}, after="e" * 40))
    assert "team/other" in post(server, hook, elsewhere, gitlab).json()["reason"]
    ping = post(server, hook, b'{"zen": "Keep it simple."}', {**gitlab, "X-GitHub-Event": "ping"})
    assert (ping.status_code, ping.json()["outcome"]) == (202, "not_met")


def test_a_viewer_may_look_at_triggers_and_change_none(server: RunningServer, client: Client) -> None:
    client.governance.create_principal("looker", role="viewer")
    token = client.governance.create_token("looker").secret
    transport = HttpTransport(server.url, token)
    with Client(transport) as looker:
        assert looker.triggers.list()
        for change in (lambda: looker.triggers.fire("given"), looker.triggers.pause, lambda: looker.triggers.rotate("given")):
            with pytest.raises(Denied):
                change()


def test_instants_in_answers_are_aware(client: Client) -> None:
    assert all(isinstance(item.created_at, datetime) and item.created_at.tzinfo for item in client.triggers.list())
