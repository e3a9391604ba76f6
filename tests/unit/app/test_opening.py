"""A fresh home that several processes open at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.app import opening
from rung.app.opening import TOKEN_FILE, open_platform
from rung.core.settings import Settings
from rung.server.up import _leave


def test_of_processes_that_open_a_fresh_home_at_once_one_makes_the_owner(any_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    platform, first = open_platform(any_settings)
    assert first is not None
    with monkeypatch.context() as patch:
        patch.setattr(platform.database, "read", lambda _: None)  # the other looked before the first had written
        assert opening._bootstrap(platform) is None
    assert (any_settings.home_path / TOKEN_FILE).read_text() == f"{first.secret}\n"
    assert (any_settings.home_path / TOKEN_FILE).stat().st_mode & 0o777 == 0o600
    platform.close()


def test_no_owner_is_left_without_a_token(any_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(opening, "write_whole", killed)
        with pytest.raises(KeyboardInterrupt):
            open_platform(any_settings)
    platform, first = open_platform(any_settings)
    assert first is not None
    assert platform.identify(first.secret).name == "owner"
    platform.close()


def test_a_server_that_ends_takes_its_own_address_back_and_no_others(tmp_path: Path) -> None:
    note = tmp_path / "address"
    note.write_text("http://127.0.0.1:2")  # of the one that has followed
    _leave(note, "http://127.0.0.1:1")
    assert note.read_text() == "http://127.0.0.1:2"
    _leave(note, "http://127.0.0.1:2")
    _leave(note, "http://127.0.0.1:2")
    assert not note.exists()
