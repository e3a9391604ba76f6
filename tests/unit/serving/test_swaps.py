"""When a process began to answer with a revision is told of processes that saw it come."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from sklearn.linear_model import LogisticRegression

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import load_settings

FRAME = pl.DataFrame({"x": [float(i) for i in range(40)]})


def opened(folder: Path) -> Client:
    return Client(local_transport(load_settings(folder, environ={}, flags={"home": str(folder / "home")})))


def test_a_process_that_starts_later_does_not_count_the_time_it_was_not_there(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        for strength in (1.0, 0.1):
            client.registry.register("tiny", LogisticRegression(C=strength).fit(FRAME, [0, 1] * 20), example=FRAME, label="y")
        client.serving.deploy("tiny", "tiny", 1, environment="dev")
        client.serving.predict("tiny", FRAME.head(1))
        client.serving.deploy("tiny", "tiny", 2, environment="dev")
        client.serving.predict("tiny", FRAME.head(1))
        assert [swap.revision for swap in client.serving.swaps("tiny")][:1] == [2]
    with opened(tmp_path) as later:
        later.serving.predict("tiny", FRAME.head(1))
        assert later.serving.swaps("tiny") == ()
