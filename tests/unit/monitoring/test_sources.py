"""What monitors keep in memory between their runs, which several threads ask for."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from rung.monitoring import sources


class Watched(str):
    """A text that tells when somebody looks for it, once."""

    __slots__ = ()
    tell: Callable[[], None] | None = None

    def __hash__(self) -> int:
        tell, Watched.tell = Watched.tell, None
        if tell is not None:
            tell()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Asks for the reference of a version, which is as good as its name here."""
    monkeypatch.setattr(sources, "_references", {})
    monkeypatch.setattr(sources, "reference_version", lambda scope, monitor, version: SimpleNamespace(digest=version.digest))
    monkeypatch.setattr(sources, "own_evaluation", lambda *_: None)
    monkeypatch.setattr(sources, "_built", lambda scope, monitor, version, held: held.digest)
    monitor: Any = SimpleNamespace(window_days=7, columns=())

    def asked(digest: str, project: str = "p") -> object:
        scope, version = SimpleNamespace(project=project), SimpleNamespace(digest=digest)
        return sources.reference(scope, monitor, version)  # type: ignore[arg-type]  # what of them it looks at

    return asked


def test_two_who_make_room_for_a_reference_at_once_both_get_theirs(ask: Callable[..., object]) -> None:
    ask("0", Watched("p"))
    for number in range(1, sources._MOST_REFERENCES):
        ask(str(number))
    found: list[object] = []
    other = Thread(target=lambda: found.append(ask("other")))

    def meddle() -> None:
        other.start()
        other.join(0.5)  # where nothing makes it wait it has made room by now, by the same one

    Watched.tell = meddle
    assert ask("mine") == "mine"
    other.join()
    assert found == ["other"]
