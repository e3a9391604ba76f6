"""Addresses and tokens that cannot be: refused before anything is sent, and no token is the server's to refuse."""

from __future__ import annotations

import pytest

from rung.client.transports import HttpTransport
from rung.core.errors import Invalid, Unavailable
from rung.governance.records import WhoAmI
from tests.servers import RunningServer, free_port


@pytest.mark.parametrize("token", ["rung_ä", "rung_a\nb", "rung_\x00"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(Invalid, match="characters that no token has") as caught:
        HttpTransport("http://127.0.0.1:7474", token)
    assert token not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:seven"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="is no address of a server") as caught:
        HttpTransport(url, "rung_x")
    assert url in str(caught.value)


@pytest.mark.parametrize(("url", "told"), [("nowhere", "missing an 'http://'"), ("ftp://x", "unsupported protocol 'ftp://'")])
def test_an_address_of_another_kind_is_told_in_one_sentence(url: str, told: str) -> None:
    transport = HttpTransport(url, "rung_x")
    with pytest.raises(Unavailable, match=told) as caught:
        transport.call(WhoAmI())
    assert ".." not in str(caught.value)
    transport.close()


def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    transport = HttpTransport(url, "")
    with pytest.raises(Unavailable, match=f"{url} does not answer"):
        transport.call(WhoAmI())
    transport.close()


def test_without_a_token_the_server_says_what_to_set(server: RunningServer) -> None:
    transport = HttpTransport(server.url, "")
    with pytest.raises(Exception, match="Set RUNG_TOKEN"):
        transport.call(WhoAmI())
    transport.close()


def test_white_space_around_a_token_is_no_part_of_it(server: RunningServer) -> None:
    transport = HttpTransport(server.url, f" {server.token}\n")
    assert transport.call(WhoAmI()).principal.name == "owner"
    transport.close()
