"""Models that raise, hang, leak or crash in processes of their own: the reason is told, the next request is answered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.client.client import Client
from rung.core.errors import Conflict, Invalid, Unavailable
from rung.core.records import replaced
from rung.registry.records import ModelVersion
from rung.registry.store import RegistryStore
from rung.serving.inference import Rows
from rung.serving.isolated.locked import locked_python
from rung.serving.isolated.scoring import Isolated, Spec, isolated_predictor, laid_out
from tests.processes import is_alive
from tests.servers import wait_until
from tests.unit.pipelines.wheels import wheel

CHANCE = np.random.default_rng(0)
MATRIX = CHANCE.normal(size=(60, 3))
LABELS = MATRIX.sum(axis=1) > 0
# in front of Rung's own loading: a model that does what the first value of its rows says
TROUBLE = """
import ctypes, os, time
import numpy as np
import rung.registry.loading as loading
from rung.registry.predictor import Predictor

HELD = []

def score(matrix):
    what = matrix[0, 0]
    if what == 1: raise RuntimeError("no such airport")
    if what == 2: time.sleep(60)
    if what == 3: ctypes.string_at(0)
    if what == 4: HELD.append(np.ones((300 << 20) // 8))
    if what == 5: os._exit(7)
    if what == 6: HELD.append(np.ones((20 << 20) // 8))
    if what == 7: raise ValueError("a value I never met")
    if what == 8: return np.zeros(99)
    return matrix.sum(axis=1)

def load(files, version, **how):
    return Predictor(model=version.model, number=version.number, digest=version.digest, signature=version.signature, task="regression",
        classes=(), threshold=None, scorer=lambda frame: frame.to_numpy().sum(axis=1), score_matrix=score)

loading.load = load
"""


@pytest.fixture
def version(client: Client, transport) -> ModelVersion:
    frame = pl.DataFrame({name: MATRIX[:, place] for place, name in enumerate("abc")})
    client.registry.register("m", LogisticRegression().fit(MATRIX, LABELS), example=frame, label="y")
    project = transport.caller().project
    return transport.platform.database.read(lambda connection: RegistryStore(connection, project).version("m", 1))


@pytest.fixture
def folder(version: ModelVersion, transport, home: Path) -> Path:
    return laid_out(transport.platform.blobs, version, home)


@pytest.fixture
def trouble(version: ModelVersion, folder: Path, tmp_path: Path) -> Iterator[Isolated]:
    place = tmp_path / "code"
    place.mkdir()
    (place / "sitecustomize.py").write_text("")
    (place / "trouble.py").write_text(TROUBLE)
    held = Isolated(Spec(version, folder, timeout_s=60.0, memory_mb=250, path=(str(place),), preload=("trouble",)))
    held.start()
    yield held
    held.close()


def _rows(what: float, n: int = 1) -> Rows:
    return Rows(matrix=np.array([[what, 10.0, 20.0]] * n))


def test_scores_are_those_of_the_model_in_this_process(version: ModelVersion, transport, home: Path) -> None:
    predictor, process = isolated_predictor(transport.platform.blobs, version, home)
    expected = LogisticRegression().fit(MATRIX, LABELS).predict_proba(MATRIX)[:, 1]
    assert predictor.score_matrix is not None
    np.testing.assert_allclose(predictor.score_matrix(MATRIX), expected, rtol=1e-12)
    frame = pl.DataFrame({name: MATRIX[:, place] for place, name in enumerate("abc")})
    np.testing.assert_allclose(predictor.predict_scores(frame), expected, rtol=1e-12)
    assert predictor.engine.startswith("isolated")
    process.close()


def test_a_model_that_raises_says_what_and_goes_on(trouble: Isolated) -> None:
    with pytest.raises(Unavailable, match="raised RuntimeError: no such airport"):
        trouble(_rows(1))
    with pytest.raises(Invalid, match="a value I never met"):
        trouble(_rows(7))
    with pytest.raises(Unavailable, match="shape"):
        trouble(_rows(8))
    assert trouble(_rows(0, 2)).tolist() == [30.0, 30.0]


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        (2, "serving.model_timeout", "did not answer in 2 s"),
        (3, "serving.model_crashed", "SIGSEGV"),
        (4, "serving.model_memory", "250 MiB"),
        (5, "serving.model_crashed", "code 7"),
    ],
)
def test_a_model_that_hangs_crashes_or_eats_memory_is_ended_and_started_again(trouble: Isolated, what: int, code: str, said: str) -> None:
    if what == 2:
        trouble.spec = replace(trouble.spec, timeout_s=2.0)
    with pytest.raises(Unavailable, match=said) as met:
        trouble(_rows(what))
    assert met.value.code == code
    trouble.spec = replace(trouble.spec, timeout_s=60.0)
    wait_until(lambda: _answers(trouble), 180, lambda: "it never came back")


def _answers(process: Isolated) -> bool:
    with suppress(Unavailable):
        return process(_rows(0)).tolist() == [30.0]
    return False


def test_a_model_that_leaks_is_replaced_before_it_is_out_of_memory(trouble: Isolated) -> None:
    pids = set()
    for _ in range(12):
        wait_until(lambda: trouble._process is not None, 180, lambda: "it never came back")
        assert trouble._process is not None
        pids.add(trouble._process.held.pid)
        assert trouble(_rows(6)).tolist() == [36.0]
    assert len(pids) >= 2


def test_another_model_answers_while_one_hangs(trouble: Isolated, version: ModelVersion, transport, home: Path) -> None:
    predictor, process = isolated_predictor(transport.platform.blobs, version, home)

    def hang() -> None:
        with pytest.raises(Unavailable):
            trouble(_rows(2))

    hanging = threading.Thread(target=hang)
    hanging.start()
    assert predictor.score_matrix is not None
    for _ in range(20):
        predictor.score_matrix(MATRIX)
    assert hanging.is_alive()
    trouble.close()  # who waits for it is told that it has ended
    hanging.join()
    process.close()


def test_a_model_that_cannot_be_loaded_says_why(version: ModelVersion, folder: Path) -> None:
    for place in folder.iterdir():
        place.write_bytes(b"no model" + b" " * (place.stat().st_size - 8))
    held = Isolated(Spec(version, folder))
    with pytest.raises(Invalid):
        held.start()
    held.close()


def test_a_confined_process_reads_no_other_file_and_reaches_no_network(version: ModelVersion, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("token")
    code = tmp_path / "code"
    code.mkdir()
    (code / "spying.py").write_text(
        TROUBLE.replace(
            "HELD = []",
            f"HELD = []\ndef spy():\n    import socket\n    found = []\n    for act in (lambda: open({str(secret)!r}), lambda: socket.socket(), lambda: os.fork()):\n"
            "        try:\n            act()\n            found.append(1.0)\n        except OSError:\n            found.append(0.0)\n    return np.array(found)",
        ).replace("return matrix.sum(axis=1)", "return spy()")
    )
    held = Isolated(Spec(version, folder, path=(str(code),), preload=("spying",), confined=True))
    held.start()
    assert held(_rows(0, 3)).tolist() == [0.0, 0.0, 0.0]
    held.close()


OWNER = """
import sys
from pathlib import Path
import msgspec
from rung.registry.records import ModelVersion
from rung.serving.isolated.locked import locked_python
from rung.serving.isolated.scoring import Isolated, Spec
version = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ModelVersion)
held = Isolated(Spec(version, Path(sys.argv[2])))
held.start()
print(held._process.held.pid, flush=True)
sys.stdin.read()
"""


def test_the_process_dies_with_its_parent(version: ModelVersion, folder: Path, tmp_path: Path) -> None:
    import msgspec

    (tmp_path / "version.json").write_bytes(msgspec.json.encode(version))
    command = [sys.executable, "-c", OWNER, str(tmp_path / "version.json"), str(folder)]
    owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert is_alive(pid)
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    wait_until(lambda: not is_alive(pid), 60, lambda: "it lives on")


def test_a_version_is_scored_with_the_libraries_of_its_own_lock(version: ModelVersion, transport, home: Path, tmp_path: Path) -> None:
    file = wheel(tmp_path / "wheels", "tiny", "1.0", {"tiny.py": "RATE = 7.0\n"})
    lock = transport.platform.blobs.put(f"rung==0.1.0\ntiny @ file://{file}\n".encode())
    code = tmp_path / "code"
    code.mkdir()
    (code / "elsewhere.py").write_text(TROUBLE.replace("return matrix.sum(axis=1)", "import tiny; return tiny.RATE * matrix.sum(axis=1)"))
    python = locked_python(transport.platform.blobs, replaced(version, lock=lock), home)
    assert python != sys.executable
    folder = laid_out(transport.platform.blobs, version, home)
    held = Isolated(Spec(version, folder, python=python, path=(str(code),), preload=("elsewhere",)))
    held.start()
    assert held(_rows(0)).tolist() == [210.0]
    held.close()
    with pytest.raises(Conflict, match="knows no lock"):
        locked_python(transport.platform.blobs, replaced(version, lock=""), home)
