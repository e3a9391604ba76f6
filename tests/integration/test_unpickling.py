"""What a pickle can do while it is opened: nothing outside of its own folder."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

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
    "write beside the pickle": "open('another', 'w').write('x')",
    "make a link": "__import__('os').symlink({outside!r}, 'link')",
    "change the pickle": "open('model.pickle', 'r+b').write(b'x')",
    "remove the answer": "__import__('os').unlink('answer.json')",
    "read a secret": "open({secret!r}).read()",
    "cut a secret off": "__import__('os').truncate({secret!r}, 0)",
    "cut a library off": "__import__('os').open(__import__('os').__file__, __import__('os').O_TRUNC)",
    "lend a secret": "__import__('os').chmod({secret!r}, 0o777)",
    "lend a library": "__import__('os').chmod(__import__('os').__file__, 0o777)",
    "touch a library": "__import__('os').utime(__import__('os').__file__)",
    "mark a library": "__import__('os').setxattr(__import__('os').__file__, 'user.x', b'x')",
    "lock a library": "__import__('fcntl').flock(open(__import__('os').__file__), 1)",
    "read our environment": "open('/proc/{pid}/environ').read()",
    "list a folder": "__import__('os').listdir({folder!r})",
    "open a socket": "__import__('socket').create_connection(('127.0.0.1', {port}))",
    "open a local socket": "__import__('socket').socket(__import__('socket').AF_UNIX)",
    "run a program": "__import__('subprocess').run(['touch', {outside!r}])",
    "become a program": "__import__('os').execv('/usr/bin/touch', ['touch', {outside!r}])",
    "start a process": "__import__('os').fork()",
    "end us": "__import__('os').kill({pid}, 9)",
    "send us signals of a file": "__import__('fcntl').fcntl(0, 8, {pid})",
    "change our limits": "__import__('resource').prlimit({pid}, 7, (3, 3))",
    "change its own limits": "__import__('resource').setrlimit(7, (3, 3))",
    "pin us to a processor": "__import__('os').sched_setaffinity({pid}, [0])",
    "share memory": "__import__('multiprocessing.shared_memory').shared_memory.SharedMemory(create=True, size=9)",
    "type for the user": "__import__('fcntl').ioctl(0, 0x5412, b'x')",
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
        define = "def trying(text):\n    try:\n        eval(text)\n        return 'did ' + text[:60]\n    except (OSError, ValueError) as error:\n        return 'stopped-' + str(error)[:3]\n"
        listing = f"exec({define!r}, globals()) or {tried}"
        with pytest.raises(Invalid) as refused:
            unpickled(pickle.dumps(Expression(listing)), tmp_path / "scratch")
    told = refused.value.message
    assert told.count("stopped-") == len(ATTEMPTS), told
    assert "did " not in told
    assert not outside.exists()
    assert secret.read_text(encoding="utf-8") == "s3cret"


@pytest.mark.parametrize(("text", "reason"), [("__import__('ctypes').string_at(0)", "signal 11"), ("[0] * 10**11", "MemoryError")])
def test_a_pickle_that_ends_its_process_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=reason):
        unpickled(pickle.dumps(Expression(text)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_boosters_inside_of_a_pipeline_keep_their_answers(tmp_path: Path) -> None:
    """Their libraries start threads of their own, which the locks hold too."""
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    parts = [("l", lightgbm.LGBMClassifier(n_estimators=3, verbose=-1)), ("x", xgboost.XGBClassifier(n_estimators=3))]
    model = make_pipeline(StandardScaler(), VotingClassifier(parts, voting="soft")).fit(X, np.where(X[:, 0] > 0, "late", "on time"))
    name, files = unpickled(pickle.dumps(model), tmp_path)
    assert FORMATS.get(name).traits(files).classes == ("late", "on time")
    assert np.array_equal(FORMATS.get(name).load(files, "binary")(pl.DataFrame(X)), model.predict_proba(X)[:, 1])


def test_a_process_with_threads_is_not_confined() -> None:
    code = """
import threading
from rung.core.errors import Unavailable
from rung.registry.isolation import confine
threading.Thread(target=threading.Event().wait, daemon=True).start()
try:
    confine([], [], seconds=10, memory_bytes=1 << 30, file_bytes=0)
except Unavailable as error:
    print(error.code)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "registry.no_isolation\n"
