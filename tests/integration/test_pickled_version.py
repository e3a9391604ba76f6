"""A pickled model on the whole way: logged as MLflow's client does, registered, answered for."""

from __future__ import annotations

import pickle

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import RandomForestClassifier

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.records import replaced
from rung.core.settings import Settings
from rung.tracking.artifacts import LogArtifact

ROWS = pl.DataFrame({"hour": [1.0, 5.0, 9.0, 20.0] * 10, "wind": [0.5, 2.0, -1.0, 3.0] * 10})
MLMODEL = """
flavors:
  sklearn: {pickled_model: model.pkl, serialization_format: pickle, sklearn_version: 1.9.1}
signature:
  inputs: '[{"type": "double", "name": "hour"}, {"type": "double", "name": "wind"}]'
"""


@pytest.mark.parametrize("allowed", [False, True])
def test_a_pickle_is_served_where_a_person_allowed_it(allowed: bool, settings: Settings) -> None:
    model = RandomForestClassifier(3, random_state=0).fit(ROWS.to_numpy(), ["late", "on time"] * 20)
    with Client(local_transport(replaced(settings, registry=replaced(settings.registry, allow_pickles=allowed)))) as client:
        run = client.tracking.start("flights")
        for name, data in (("MLmodel", MLMODEL.encode()), ("model.pkl", pickle.dumps(model))):
            digest = client.transport.put_blob(data)
            client.transport.call(LogArtifact(owner=run.id, path=f"model/{name}", digest=digest, size_bytes=len(data)))
        version = client.registry.register_logged("late", f"runs:/{run.id}/model")
        if not allowed:
            assert "is a pickle" in version.unservable
            assert "registry.allow_pickles" in version.unservable
            return
        assert (version.unservable, version.format, version.task, version.classes) == ("", "skops", "binary", ("late", "on time"))
        assert version.tags["rung.from_pickle"] == "true"
        scores = client.registry.predictor("late", 1).predict_scores(ROWS)
        assert np.array_equal(scores, model.predict_proba(ROWS.to_numpy())[:, 1])
