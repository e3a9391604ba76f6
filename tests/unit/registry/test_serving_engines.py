"""What serves a version: told at registration, changed by compiling anew, and never a damaged artifact."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.errors import Invalid, NotFound
from rung.core.records import replaced
from rung.registry.loading import forget, load, predictor
from rung.registry.records import ModelVersion

_CHANCE = np.random.default_rng(0)
ROWS = pl.DataFrame(_CHANCE.normal(size=(400, 3)), schema=["a", "b", "c"])
TARGET = (ROWS["a"] + ROWS["b"] > 0).to_numpy().astype(int)
MODEL = HistGradientBoostingClassifier(max_iter=10).fit(ROWS, TARGET)


@pytest.fixture
def version(client: Client) -> ModelVersion:
    forget()
    return client.registry.register("m", MODEL, example=ROWS, label="y")


def test_a_registered_version_says_what_serves_it(version: ModelVersion, client: Client) -> None:
    held = client.registry.engine("m", 1)
    assert (held.engine, held.reason) == ("trees", "")
    assert held.largest_difference <= 1e-15
    assert held.rows > 1000
    assert held.artifact.startswith("blake3:")
    assert client.registry.version("m").engine == version.engine == held


def test_a_version_that_no_engine_reads_says_why(client: Client) -> None:
    made = client.registry.register("near", KNeighborsClassifier().fit(ROWS, TARGET), example=ROWS, label="y")
    assert made.engine is not None
    assert made.engine.engine == "native"
    assert "KNeighborsClassifier" in made.engine.reason


def test_a_compiled_version_scores_matrices_columns_and_frames_alike(version: ModelVersion, transport: LocalTransport) -> None:
    held = predictor(transport.platform.blobs, version)
    assert held.engine == "trees"
    assert held.numeric
    assert held.score_matrix is not None
    assert held.score_columns is not None
    expected = MODEL.predict_proba(ROWS)[:, 1]
    for found in (
        held.score_matrix(ROWS.to_numpy().copy()), held.predict_scores(ROWS), held.score_columns([ROWS[name].to_list() for name in "abc"]),
    ):  # fmt: skip
        assert np.allclose(found, expected, rtol=0, atol=1e-15)
    assert 0 < held.cost_us < 10_000


def test_the_models_own_library_serves_where_it_is_asked_for(version: ModelVersion, transport: LocalTransport) -> None:
    held = predictor(transport.platform.blobs, version, engine="native")
    assert (held.engine, held.program, held.score_matrix is not None) == ("native", None, True)
    assert np.array_equal(held.predict_scores(ROWS), MODEL.predict_proba(ROWS)[:, 1])


def test_a_compiled_predictor_travels_to_another_process(version: ModelVersion, transport: LocalTransport) -> None:
    held = predictor(transport.platform.blobs, version)
    code = "import pickle, sys; held, rows = pickle.load(sys.stdin.buffer); sys.stdout.buffer.write(pickle.dumps((held.engine, held.predict_scores(rows))))"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps((held, ROWS)), capture_output=True, check=True)
    engine, found = pickle.loads(done.stdout)
    assert engine == "trees"
    assert np.array_equal(found, held.predict_scores(ROWS))


class _Damaged:
    """Blobs of which one is not what it was."""

    def __init__(self, transport: LocalTransport, digest: str) -> None:
        self._blobs, self._digest = transport.platform.blobs, digest

    def get(self, digest: str) -> bytes:
        data: bytes = self._blobs.get(digest)
        return data[:-1] + b"?" if digest == self._digest else data


def test_a_damaged_artifact_is_told_and_the_models_own_library_answers(
    version: ModelVersion, transport: LocalTransport, caplog: pytest.LogCaptureFixture
) -> None:
    assert version.engine is not None
    with caplog.at_level(logging.WARNING, "rung.registry"):
        held = load(_Damaged(transport, version.engine.artifact), version)
    assert held.engine == "native"
    assert "cannot be used" in caplog.text
    assert np.array_equal(held.predict_scores(ROWS), MODEL.predict_proba(ROWS)[:, 1])


def test_an_artifact_of_other_inputs_is_not_used(version: ModelVersion, transport: LocalTransport) -> None:
    fields = tuple(replaced(field, name=field.name * 2) for field in version.signature.inputs)
    other = replaced(version, signature=replaced(version.signature, inputs=fields))
    assert load(transport.platform.blobs, other).engine == "native"


def test_a_version_is_compiled_anew_or_served_natively_on_demand(version: ModelVersion, client: Client) -> None:
    assert client.registry.compile("m", 1, engine="native").engine == "native"
    assert client.registry.version("m").engine.engine == "native"
    assert client.registry.compile("m", 1).engine == "trees"
    assert client.registry.engine("m", 1).engine == "trees"
    with pytest.raises(NotFound, match="warp"):
        client.registry.compile("m", 1, engine="warp")


def test_a_row_the_model_refuses_is_refused_by_its_engine(client: Client, transport: LocalTransport) -> None:
    from sklearn.ensemble import RandomForestClassifier

    made = client.registry.register("forest", RandomForestClassifier(5).fit(ROWS, TARGET), example=ROWS, label="y")
    held = predictor(transport.platform.blobs, made)
    assert held.score_matrix is not None
    with pytest.raises(Invalid, match="infinity"):
        held.score_matrix(np.array([[np.inf, 0.0, 0.0]]))
