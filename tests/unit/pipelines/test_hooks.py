"""Webhooks are believed when they are signed and fresh, and what forges tell of a push is read with care."""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import Denied, Invalid, RungError
from rung.pipelines.hooks import payload, push_cause, push_facts, signature, verified

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
SECRET = "a secret that nobody knows"
BODY = b'{"params": {"rows": 5}}'


def rung_headers(body: bytes = BODY, stamp: str = STAMP, secret: str = SECRET) -> dict[str, str]:
    return {"x-rung-timestamp": stamp, "x-rung-signature": signature(secret, stamp, body)}


def refused(headers: dict[str, str], body: bytes = BODY, *, forge: bool = True) -> str:
    with pytest.raises(Denied) as caught:
        verified(headers, body, (SECRET,), NOW, forge=forge)
    assert SECRET not in str(caught.value)
    return caught.value.code


def test_the_signature_is_the_hmac_of_timestamp_and_body() -> None:
    # openssl: printf '1774699200.{"params": {"rows": 5}}' | openssl dgst -sha256 -hmac 'a secret that nobody knows'
    by_hand = hmac.new(SECRET.encode(), b"1774699200." + BODY, "sha256").hexdigest()
    assert (STAMP, signature(SECRET, STAMP, BODY)) == ("1774699200", f"v1={by_hand}")


def test_a_signed_body_is_believed_with_either_secret_while_both_are_good() -> None:
    first = verified(rung_headers(), BODY, ("another", SECRET), NOW, forge=False)
    assert first.scheme == "rung"
    assert first == verified(rung_headers(), BODY, (SECRET,), NOW, forge=False)  # the same message is the same cause
    later = str(int(STAMP) + 1)
    assert verified(rung_headers(stamp=later), BODY, (SECRET,), NOW, forge=False).nonce != first.nonce


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "pipelines.no_signature"),
        ({"x-rung-timestamp": STAMP}, "pipelines.no_signature"),
        ({**rung_headers(), "x-rung-signature": "v1=" + "0" * 64}, "pipelines.bad_signature"),
        ({**rung_headers(), "x-rung-signature": ""}, "pipelines.bad_signature"),
        ({**rung_headers(), "x-rung-signature": signature(SECRET, STAMP, BODY).removeprefix("v1=")}, "pipelines.bad_signature"),
        ({**rung_headers(), "x-rung-signature": "vé=\xff"}, "pipelines.bad_signature"),
        (rung_headers(body=b"{}"), "pipelines.bad_signature"),
        (rung_headers(secret="guessed"), "pipelines.bad_signature"),
        (rung_headers(stamp=str(int(STAMP) - 301)), "pipelines.stale_hook"),
        (rung_headers(stamp=str(int(STAMP) + 301)), "pipelines.stale_hook"),
        (rung_headers(stamp="nan"), "pipelines.stale_hook"),
        (rung_headers(stamp=""), "pipelines.stale_hook"),
        (rung_headers(stamp="9" * 4000), "pipelines.stale_hook"),
        (rung_headers(stamp="1774699200.5"), "pipelines.stale_hook"),
        ({"x-rung-signature": signature(SECRET, "", BODY)}, "pipelines.stale_hook"),
        ({**rung_headers(), "x-rung-timestamp": str(int(STAMP) + 1)}, "pipelines.bad_signature"),
        ({"x-hub-signature-256": "sha256=" + "0" * 64}, "pipelines.bad_signature"),
        ({"x-hub-signature-256": "sha1=" + hmac.new(SECRET.encode(), BODY, "sha1").hexdigest()}, "pipelines.bad_signature"),
        ({"x-gitlab-token": "guessed"}, "pipelines.bad_signature"),
        ({"x-gitlab-token": ""}, "pipelines.bad_signature"),
    ],
)
def test_what_is_forged_stale_or_not_signed_is_refused(headers: dict[str, str], code: str) -> None:
    assert refused(headers) == code


def test_an_empty_secret_opens_nothing() -> None:
    with pytest.raises(Denied):
        verified({"x-gitlab-token": ""}, BODY, ("",), NOW, forge=True)


def test_forges_are_believed_by_their_own_signatures_where_code_is_pushed_only() -> None:
    github = {"x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), BODY, sha256).hexdigest()}
    for headers, scheme in ((github, "github"), ({"x-gitlab-token": SECRET}, "gitlab")):
        assert verified(headers, BODY, (SECRET,), NOW, forge=True).scheme == scheme
        assert refused(headers, forge=False) == "pipelines.no_signature"


def test_githubs_own_example_holds() -> None:
    # docs.github.com, "Validating webhook deliveries", section on testing
    headers = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    assert verified(headers, b"Hello, World!", ("It's a Secret to Everybody",), NOW, forge=True).scheme == "github"


def test_standard_webhooks_are_believed_by_id_time_and_body() -> None:
    key = b"0123456789abcdef0123456789abcdef"
    signed = base64.b64encode(hmac.new(key, b"msg_1." + STAMP.encode() + b"." + BODY, sha256).digest()).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": STAMP, "webhook-signature": f"v1,bm9uc2Vuc2U= v1,{signed}"}
    secret = "whsec_" + base64.b64encode(key).decode()
    assert verified(headers, BODY, (secret,), NOW, forge=False).scheme == "standard"
    with pytest.raises(Denied):
        verified({**headers, "webhook-id": "msg_2"}, BODY, (secret,), NOW, forge=False)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[1]", b"nope", b'{"a": ' * 3000, b'"text"', b'{"a": 1e999}', b'{"a": "\xed\xa0\x80"}'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        payload(body, {})
    assert caught.value.code == "pipelines.bad_hook"


def test_a_form_is_refused_with_what_to_choose_instead() -> None:
    with pytest.raises(Invalid, match="form") as caught:
        payload(b"payload=%7B%7D", {"content-type": "application/x-www-form-urlencoded; charset=utf-8"})
    assert "application/json" in str(caught.value.hint)


def github_push(**more: Any) -> dict[str, Any]:
    return {
        "ref": "refs/heads/main", "before": "a" * 40, "after": "b" * 40, "repository": {"full_name": "team/flights"},
        "pusher": {"name": "ada"}, "head_commit": {"message": "Train on more\n\nrows"},
        "commits": [{"added": ["src/new.py"], "modified": ["README.md"], "removed": []}], **more,
    }  # fmt: skip


def test_a_push_is_read_as_github_tells_it() -> None:
    facts, refusal = push_facts(github_push(), {"x-github-event": "push"})
    assert refusal == ""
    assert facts == {
        "repository": "team/flights", "branch": "main", "before": "a" * 40, "after": "b" * 40, "commit": "b" * 40,
        "paths": ["README.md", "src/new.py"], "complete": True, "pusher": "ada", "title": "Train on more",
    }  # fmt: skip


def test_a_push_is_read_as_gitlab_tells_it() -> None:
    told = {
        "object_kind": "push", "ref": "refs/heads/feature/x", "before": "a" * 40, "after": "b" * 40, "user_username": "ada",
        "project": {"path_with_namespace": "team/flights"}, "total_commits_count": 21, "commits": [{"modified": ["a.py"]}] * 20,
    }  # fmt: skip
    facts, _ = push_facts(told, {"x-gitlab-event": "Push Hook"})
    assert (facts["branch"], facts["repository"], facts["pusher"]) == ("feature/x", "team/flights", "ada")
    assert facts["complete"] is False  # GitLab names at most twenty commits, so a path filter must let it through


@pytest.mark.parametrize(
    ("change", "headers", "told"),
    [
        ({}, {"x-github-event": "ping"}, "ping"),
        ({"ref": "refs/tags/v1"}, {}, "no branch"),
        ({"ref": None}, {}, "no branch"),
        ({"after": None}, {}, "no branch"),
        ({"object_kind": "tag_push"}, {}, "tag_push"),
    ],
)
def test_what_is_no_push_to_a_branch_is_said_so(change: dict[str, Any], headers: dict[str, str], told: str) -> None:
    facts, refusal = push_facts(github_push(**change), headers)
    assert facts == {}
    assert told in refusal


def test_a_forced_push_and_a_new_branch_do_not_list_every_path() -> None:
    assert push_facts(github_push(forced=True), {})[0]["complete"] is False
    assert push_facts(github_push(before="0" * 40), {})[0]["complete"] is False


def test_one_push_is_one_cause_and_going_back_is_another() -> None:
    there, back = push_facts(github_push(), {})[0], push_facts(github_push(before="b" * 40, after="a" * 40), {})[0]
    assert push_cause(there) == push_cause(push_facts(github_push(pusher={"name": "bob"}), {})[0])
    assert push_cause(there) != push_cause(back)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*github_push(), "forced", "project", "paths"]), inner, max_size=9)
        ),
        max_leaves=12,
    )
)
def test_no_body_breaks_the_reading_of_a_push(value: Any) -> None:
    try:
        plain = payload(msgspec.json.encode(value), {})
        facts, refusal = push_facts(plain, {})
    except RungError:
        return
    assert bool(facts) != bool(refusal)
