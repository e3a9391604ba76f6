"""Whom a node admits: as the platform says, remembered for a while, and longer while nobody can be asked."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path

import pytest

from rung.app.node import REFUSED, Callers
from rung.core.digests import digest_of
from rung.core.errors import Denied, RungError, Unavailable
from rung.core.ids import new_id
from rung.serving.node_records import Admission
from tests.servers import wait_until

ANN = Admission(principal=new_id(), name="ann", kind="user", role="editor")
TOKEN = digest_of(b"secret")


class Platform:
    """Answers, refuses, or is away."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.says: Admission | RungError = ANN

    def __call__(self, token: str, project: str | None) -> Admission:
        self.asked.append((token, project))
        if isinstance(self.says, RungError):
            raise self.says
        return self.says


def callers(folder: Path, platform: Platform, fresh_s: float = 600.0, offline_s: float = 1200.0) -> Callers:
    return Callers(folder / "callers", platform, fresh_s, offline_s)


def test_the_platform_is_asked_once_and_other_processes_know_it_too(tmp_path: Path) -> None:
    platform = Platform()
    held = callers(tmp_path, platform)
    assert [held.admitted(TOKEN, None).name for _ in range(3)] == ["ann"] * 3
    assert callers(tmp_path, platform).admitted(TOKEN, None) == ANN
    assert platform.asked == [(TOKEN, None)]
    assert held.admitted(TOKEN, "other") == ANN  # another project is another question
    assert len(platform.asked) == 2
    assert all(TOKEN[7:] not in path.name and TOKEN[7:] not in path.read_text() for path in (tmp_path / "callers").iterdir())


def test_a_revoked_token_is_refused_once_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rung.app.node._REFUSED_S", 600.0)
    platform = Platform()
    held = callers(tmp_path, platform, fresh_s=0.05)
    held.admitted(TOKEN, None)
    platform.says = Denied("revoked", code="governance.bad_token")
    time.sleep(0.1)
    for _ in range(5):
        with pytest.raises(Denied):
            held.admitted(TOKEN, None)
    assert len(platform.asked) == 2  # a refusal is remembered for a moment, too
    platform.says = Unavailable("away", code="transport.unreachable")
    with pytest.raises(RungError):  # what was revoked does not come back when nobody can be asked
        callers(tmp_path, platform).admitted(TOKEN, None)


def test_while_the_platform_is_away_known_callers_are_admitted_and_strangers_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rung.app.node._DOWN_S", 60.0)
    platform = Platform()
    held = callers(tmp_path, platform, fresh_s=0.05)
    held.admitted(TOKEN, None)
    platform.says = Unavailable("away", code="transport.unreachable")
    time.sleep(0.1)
    assert held.admitted(TOKEN, None) == ANN
    with pytest.raises(Unavailable, match="cannot be found out"):
        held.admitted(digest_of(b"other"), None)
    asked = len(platform.asked)
    for _ in range(20):
        held.admitted(TOKEN, None)
    assert len(platform.asked) == asked  # one that does not answer is left alone for a moment
    with pytest.raises(Unavailable):
        callers(tmp_path, platform, fresh_s=0.05, offline_s=0.05).admitted(TOKEN, None)


def test_a_node_that_is_refused_itself_admits_nobody_by_what_it_remembers(tmp_path: Path) -> None:
    platform = Platform()
    held = callers(tmp_path, platform, fresh_s=0.05)
    held.admitted(TOKEN, None)
    platform.says = Unavailable("refused", code=REFUSED)
    time.sleep(0.1)
    with pytest.raises(Unavailable, match="refused"):
        held.admitted(TOKEN, None)
    platform.says = ANN
    time.sleep(1.1)
    assert held.admitted(TOKEN, None) == ANN


def test_a_caller_is_renewed_beside_the_answers(tmp_path: Path) -> None:
    platform = Platform()
    held = callers(tmp_path, platform, fresh_s=2.0)
    held.admitted(TOKEN, None)
    time.sleep(1.1)
    assert held.admitted(TOKEN, None) == ANN
    wait_until(lambda: len(platform.asked) >= 2, 60, lambda: "nobody asked again")
    assert len(platform.asked) == 2


def test_a_caller_is_admitted_while_another_process_forgets_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, real = callers(tmp_path, Platform()), Path.iterdir
    monkeypatch.setattr("rung.app.node._MOST", 1)
    monkeypatch.setattr(Path, "iterdir", lambda self: iter([*real(self), self / "gone"]))  # it was there when the folder was listed
    assert held.admitted(TOKEN, None) == ANN


def test_a_full_disk_keeps_nobody_out_whom_the_platform_lets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = callers(tmp_path, Platform())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("rung.app.node.write_whole", full)
    assert held.admitted(TOKEN, None) == ANN


def test_a_question_that_no_thread_can_ask_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = callers(tmp_path, Platform())
    with monkeypatch.context() as patch:

        def none_left(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(Unavailable, match="start new thread"):
            held._asked("key", TOKEN, None).result(120)
    assert held._asked("key", TOKEN, None).result(120) == ANN
