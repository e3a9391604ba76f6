"""What a pickle can do while it is opened: nothing outside of its own folder."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from rung.core.errors import Invalid
from rung.registry.format import FORMATS
from rung.registry.unpickling import unpickled

X = np.random.default_rng(0).normal(size=(50, 3))


class Expression:
    """Pickled, it is evaluated when it is opened."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (self.text,)


def test_a_pickled_estimator_becomes_a_file_that_runs_no_code(tmp_path: Path) -> None:
    model = LogisticRegression().fit(X, X[:, 0] > 0)
    name, files = unpickled(pickle.dumps(model), tmp_path)
    assert (name, list(files)) == ("skops", ["model.skops"])
    assert FORMATS.get("skops").traits(files).classes == (False, True)
    assert list(tmp_path.iterdir()) == []


ATTEMPTS = {
    "write elsewhere": "open({outside!r}, 'w').write('x')",
    "make a link": "__import__('os').symlink({outside!r}, 'answer.json')",
    "read a secret": "open({secret!r}).read()",
    "read our environment": "open('/proc/{pid}/environ').read()",
    "list a folder": "__import__('os').listdir({folder!r})",
    "open a socket": "__import__('socket').create_connection(('127.0.0.1', {port}))",
    "run a program": "__import__('subprocess').run(['touch', {outside!r}])",
    "start a process": "__import__('os').fork()",
    "end us": "__import__('os').kill({pid}, 9)",
    "change our limits": "__import__('resource').prlimit({pid}, 7, (3, 3))",
}


def test_nothing_a_pickle_tries_gets_out_of_its_folder(tmp_path: Path) -> None:
    """One process for all attempts: each answers what stopped it."""
    secret, outside = tmp_path / "secret", tmp_path / "outside"
    secret.write_text("s3cret", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held = {
            "secret": str(secret),
            "outside": str(outside),
            "folder": str(tmp_path),
            "pid": os.getpid(),
            "port": listener.getsockname()[1],
        }
        texts = {name: text.format(**held) for name, text in ATTEMPTS.items()}
        tried = (
            "(lambda told: (_ for _ in ()).throw(ValueError(told)))(' '.join("
            f"[(lambda text: __import__('contextlib') and trying(text))(text) for text in {list(texts.values())!r}]))"
        )
        define = "def trying(text):\n    try:\n        eval(text)\n        return 'did-it'\n    except OSError as error:\n        return f'stopped-{error.errno}'\n"
        listing = f"exec({define!r}, globals()) or {tried}"
        with pytest.raises(Invalid) as refused:
            unpickled(pickle.dumps(Expression(listing)), tmp_path / "scratch")
    told = refused.value.message
    assert told.count("stopped-") == len(ATTEMPTS), told
    assert "did-it" not in told
    assert not outside.exists()


@pytest.mark.parametrize(("text", "reason"), [("__import__('ctypes').string_at(0)", "signal 11"), ("[0] * 10**11", "MemoryError")])
def test_a_pickle_that_ends_its_process_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=reason):
        unpickled(pickle.dumps(Expression(text)), tmp_path)
    assert list(tmp_path.iterdir()) == []
