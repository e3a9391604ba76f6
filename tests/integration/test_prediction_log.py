"""The prediction log under kill -9: what was acknowledged is read back, once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from rung.serving.frames import unpacked
from rung.serving.log import PredictionLog, payloads, recover, segments

WRITER = """
import sys
from pathlib import Path
import numpy as np, polars as pl
from rung.serving.frames import Batch, pack_columns
from rung.serving.log import PredictionLog

log = PredictionLog(Path(sys.argv[1]), "p", segment_bytes=20_000, fsync=False)
rows = pl.DataFrame({"x": [1.0, 2.0], "s": ["a", None]})
for n in range(1_000_000):
    ids = [f"{sys.argv[2]}-{n}-0", f"{sys.argv[2]}-{n}-1"]
    log.append(Batch(deployment="d", model="m", number=1, revision=1, arm="stable", answered_us=n, elapsed_us=1, ids=ids,
        times_us=np.array([n, n], dtype="<i8").tobytes(), scores=np.zeros(2).tobytes(), columns=pack_columns(rows)))
    print(n, flush=True)
"""


def test_no_acknowledged_prediction_is_lost_or_doubled(tmp_path: Path) -> None:
    chance, acknowledged = random.Random(3), {}
    for attempt in range(4):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), f"w{attempt}"], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.01, 0.2))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=30)
        numbers = [int(line) for line in rest.splitlines()[:-1] if line.isdigit()]
        acknowledged[f"w{attempt}"] = max(numbers, default=0)
    folder = tmp_path / "predictions" / "p"
    recover(folder)
    assert not list(folder.glob("*.open"))
    found = [i for path in segments(folder) for payload in payloads(path) or () for i in unpacked(payload).ids]
    assert len(found) == len(set(found))
    for writer, newest in acknowledged.items():
        assert {f"{writer}-{n}-{row}" for n in range(newest + 1) for row in (0, 1)} <= set(found)


def test_a_running_writer_is_not_disturbed_by_recovery(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, "p", segment_bytes=1 << 20, fsync=True)
    from tests.unit.serving.test_frames import batch, pl

    log.append(batch(pl.DataFrame({"x": [1.0]})))
    assert recover(tmp_path / "predictions" / "p") == 0
    log.append(batch(pl.DataFrame({"x": [2.0]})))
    log.close()
    (path,) = segments(tmp_path / "predictions" / "p")
    assert len(payloads(path) or ()) == 2
