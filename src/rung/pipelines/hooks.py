"""Webhooks that call triggers: is the body signed by who knows the secret, is it fresh, and what does it say?

Four ways of signing are understood: Rung's own and Standard Webhooks, whose signature covers a time; and, for pushes of
code, GitHub's and GitLab's, which have none: there the same body is the same cause, so that it counts once.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b, sha256
from typing import Any

import msgspec

from rung.core.errors import Denied, Invalid

REPLAY_WINDOW_S = 300
LARGEST_BODY = 4 << 20
LARGEST_KEPT = 256 << 10
HEADERS = (
    "x-rung-timestamp", "x-rung-signature", "webhook-id", "webhook-timestamp", "webhook-signature", "x-mlflow-delivery-id",
    "x-mlflow-timestamp", "x-mlflow-signature", "x-hub-signature-256", "x-github-event", "x-gitea-event", "x-gitlab-token",
    "x-gitlab-event", "content-type",
)  # fmt: skip
_MOST_PATHS = 5_000
_LONGEST = 1000
_BRANCH = "refs/heads/"
_NO_COMMIT = "0" * 40


@dataclass(frozen=True)
class Signed:
    """A body that was signed with a secret: in which way, and what tells this message from others."""

    scheme: str
    nonce: str


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What ``X-Rung-Signature`` must be: HMAC-SHA256 over the timestamp, a dot, and the body."""
    return "v1=" + _hex(secret, timestamp.encode() + b"." + body)


def verified(headers: Mapping[str, str], body: bytes, secrets: tuple[str, ...], now: datetime, *, forge: bool) -> Signed:
    """How a message was signed. Raises Denied when it was not, not with one of the secrets, or too long ago.

    Args:
        headers: names in lower case.
        body: the bytes as they came.
        secrets: those that are good now, none of them empty.
        now: the receiver's clock.
        forge: whether GitHub's and GitLab's ways are taken too.
    """
    for scheme, applies, good in _SCHEMES:
        if applies(headers) and (forge or scheme in _TIMED):
            if scheme in _TIMED:
                _refuse_stale(headers, scheme, now)
            if not any(secret and good(headers, body, secret) for secret in secrets):
                raise Denied(
                    "The signature does not fit the body.",
                    code="pipelines.bad_signature",
                    hint="Sign the raw body with the trigger's secret; `rung trigger rotate` makes a new one.",
                )
            return Signed(scheme=scheme, nonce=_nonce(headers, body, scheme))
    raise Denied(
        "The message is not signed.",
        code="pipelines.no_signature",
        hint="Send X-Rung-Timestamp and X-Rung-Signature" + (", or the signature of GitHub or GitLab." if forge else "."),
    )


def payload(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The JSON object a body holds. Raises Invalid."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        raise Invalid("The body is a form.", code="pipelines.bad_hook", hint="Choose application/json as the content type of the webhook.")
    try:
        found = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The body is no JSON: {error}.", code="pipelines.bad_hook", hint="Send a JSON object.") from None
    if not isinstance(found, dict):
        raise Invalid("The body is JSON, but no object.", code="pipelines.bad_hook", hint='Send an object, such as {"params": {}}.')
    return found


def push_facts(plain: dict[str, Any], headers: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Facts of a push, as forges tell it, or why the message is none.

    The paths count as complete only where the message lists every commit between the two ends.
    """
    told = headers.get("x-github-event") or headers.get("x-gitea-event") or plain.get("object_kind") or "push"
    if told not in {"push", "Push Hook"}:
        return {}, f"The forge told of {str(told)[:100]!r}, which is no push."
    ref, before, after = (str(plain.get(name) or "")[:_LONGEST] for name in ("ref", "before", "after"))
    if not ref.startswith(_BRANCH) or not after:
        return {}, f"The push went to {ref[:200] or 'nowhere'!r}, which is no branch."
    commits = [commit for commit in _list(plain.get("commits")) if isinstance(commit, dict)]
    paths = sorted({path for commit in commits for part in ("added", "modified", "removed") for path in _texts(commit.get(part))})
    if not commits:
        paths = sorted(set(_texts(plain.get("paths"))))
    total = plain.get("total_commits_count", len(commits))
    whole = total == len(commits) and not plain.get("forced") and before not in {"", _NO_COMMIT} and len(paths) <= _MOST_PATHS
    pusher = plain.get("pusher")
    head = plain.get("head_commit")
    return {
        "repository": _repository(plain), "branch": ref.removeprefix(_BRANCH), "before": before or _NO_COMMIT, "after": after,
        "commit": after, "paths": paths[:_MOST_PATHS], "complete": whole or (not commits and bool(paths)),
        "pusher": _text(pusher.get("name") if isinstance(pusher, dict) else plain.get("user_username")),
        "title": _text(head.get("message") if isinstance(head, dict) else "").partition("\n")[0],
    }, ""  # fmt: skip


def push_cause(facts: Mapping[str, Any]) -> str:
    """What tells one push from another, however often it is told of."""
    return f"push {_short(str(facts['repository']) + ' ' + str(facts['branch']))} {facts['before']}..{facts['after']}"[:250]


def _refuse_stale(headers: Mapping[str, str], scheme: str, now: datetime) -> None:
    text = headers.get(_TIMED[scheme], "")
    try:
        age = now.timestamp() - int(text) if len(text) <= 15 else float("inf")  # noqa: PLR2004 - no later second has more digits
    except ValueError:
        age = float("inf")
    if abs(age) > REPLAY_WINDOW_S:
        raise Denied(
            f"The message is dated {text[:40]!r}, more than {REPLAY_WINDOW_S} s from the clock here.",
            code="pipelines.stale_hook",
            hint="Send the seconds since 1970 at which it is signed, and set the clock.",
        )


def _nonce(headers: Mapping[str, str], body: bytes, scheme: str) -> str:
    signed = headers.get("webhook-id") or headers.get("x-mlflow-delivery-id") or "" if scheme in {"standard", "mlflow"} else ""
    time = headers.get(_TIMED.get(scheme, ""), "") if scheme == "rung" else ""
    return _short(f"{signed} {time} {sha256(body).hexdigest() if not signed else ''}")


def _rung(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    wanted = signature(secret, headers.get("x-rung-timestamp", ""), body)
    return any(_same(part.strip(), wanted) for part in headers["x-rung-signature"].split(",")[:5])


def _standard(prefix: str) -> Callable[[Mapping[str, str], bytes, str], bool]:
    names = ("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature") if prefix else _STANDARD

    def good(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        key = secret.encode()
        if secret.startswith("whsec_"):
            try:
                key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
            except (binascii.Error, ValueError):
                key = secret.encode()
        signed = f"{headers.get(names[0], '')}.{headers.get(names[1], '')}.".encode() + body
        wanted = "v1," + base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()
        return bool(headers.get(names[0])) and any(_same(part, wanted) for part in headers[names[2]].split(" ")[:5])

    return good


def _github(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    return _same(headers["x-hub-signature-256"], "sha256=" + _hex(secret, body))


def _gitlab(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    return _same(headers["x-gitlab-token"], secret)


_STANDARD = ("webhook-id", "webhook-timestamp", "webhook-signature")
_TIMED = {"rung": "x-rung-timestamp", "standard": "webhook-timestamp", "mlflow": "x-mlflow-timestamp"}
_SCHEMES: tuple[tuple[str, Callable[[Mapping[str, str]], bool], Callable[[Mapping[str, str], bytes, str], bool]], ...] = (
    ("rung", lambda held: "x-rung-signature" in held, _rung),
    ("standard", lambda held: "webhook-signature" in held, _standard("")),
    ("mlflow", lambda held: "x-mlflow-signature" in held, _standard("mlflow")),
    ("github", lambda held: "x-hub-signature-256" in held, _github),
    ("gitlab", lambda held: "x-gitlab-token" in held, _gitlab),
)


def _hex(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, sha256).hexdigest()


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())


def _short(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _repository(plain: dict[str, Any]) -> str:
    for name, part in (("repository", "full_name"), ("project", "path_with_namespace")):
        held = plain.get(name)
        if isinstance(held, dict) and held.get(part):
            return _text(held[part])
        if isinstance(held, str) and held:
            return _text(held)
    return "unknown"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [text for item in _list(value) if (text := _text(item))]


def _text(value: Any) -> str:
    return value.replace("\x00", "")[:_LONGEST] if isinstance(value, str) else ""
