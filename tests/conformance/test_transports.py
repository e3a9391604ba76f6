"""Every transport gives the same answers and the same errors."""

from __future__ import annotations

import pytest

from rung.client.transports import Transport
from rung.core.digests import digest_of
from rung.core.errors import AlreadyExists, Invalid, NotFound
from rung.governance.records import CreatePrincipal, CreateProject, ListProjects, RevokeToken, WhoAmI


def test_a_question_is_answered_alike(any_transport: Transport) -> None:
    assert any_transport.call(WhoAmI()).principal.name == "owner"


def test_what_was_written_is_read_back(any_transport: Transport) -> None:
    made = any_transport.call(CreateProject(name="churn"))
    assert made in any_transport.call(ListProjects())


def test_a_wrong_type_is_invalid_on_every_transport(any_transport: Transport) -> None:
    with pytest.raises(Invalid, match="name"):
        any_transport.call(CreatePrincipal(name=7))  # type: ignore[arg-type]


def test_a_taken_name_is_refused_with_the_name(any_transport: Transport) -> None:
    any_transport.call(CreateProject(name="churn"))
    with pytest.raises(AlreadyExists, match="churn") as caught:
        any_transport.call(CreateProject(name="churn"))
    assert caught.value.code == "governance.project_exists"
    assert caught.value.hint


def test_what_does_not_exist_is_not_found(any_transport: Transport) -> None:
    with pytest.raises(NotFound):
        any_transport.call(RevokeToken(id="0" * 32))


def test_a_blob_comes_back_as_it_went(any_transport: Transport) -> None:
    digest = any_transport.put_blob(b"rows and rows")
    assert digest == digest_of(b"rows and rows")
    assert any_transport.get_blob(digest) == b"rows and rows"


def test_an_unknown_blob_is_not_found(any_transport: Transport) -> None:
    with pytest.raises(NotFound):
        any_transport.get_blob(digest_of(b"never seen"))
