"""Pages of predictions show what was answered, say what is wrong with a condition, and explain on request."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from rung.app.local import local_transport
from rung.cli.main import cli
from rung.client.client import Client
from rung.core.settings import load_settings
from rung.monitoring.records import Label
from rung.ui.blocks import Facts, Part, Table, Visit
from rung.ui.pages.predictions import prediction, predictions


def test_a_deployment_shows_its_newest_answers_and_each_leads_to_a_page_of_its_own(tmp_path: Path) -> None:
    transport = local_transport(load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / "home")}))
    client = Client(transport)
    generator = np.random.default_rng(0)
    frame = pl.DataFrame({"a": generator.normal(size=60), "b": generator.normal(size=60)})
    model = LogisticRegression().fit(frame, (frame["a"] > 0).to_numpy().astype(int))
    client.registry.register("tiny", model, example=frame.head(20), label="y")
    client.serving.deploy("tiny", "tiny", 1, environment="staging")
    try:
        assert "no predictions yet" in predictions(Visit(transport, {"deployment": "tiny"}, {})).headline
        client.serving.predict("tiny", frame, ids=[f"p{i}" for i in range(60)])
        page = predictions(Visit(transport, {"deployment": "tiny"}, {}))
        assert page.headline == "50 predictions of tiny, newest first; it answered 60 rows in all."
        (table,) = [block for block in page.blocks if isinstance(block, Table)]
        assert len(table.rows) == 50
        wrong = predictions(Visit(transport, {"deployment": "tiny"}, {"where": "a >"}))
        (search,) = [block for block in wrong.blocks if isinstance(block, Part)]
        assert "is not understood at character 4" in search.values["problem"]
        assert "Taken out" not in str(page.blocks)
        one = prediction(Visit(transport, {"id": "p7"}, {"explain": "1"}))
        (inputs,) = [block for block in one.blocks if isinstance(block, Table) and block.title == "Inputs"]
        assert [row[0] for row in inputs.rows] == ["a", "b"]
        (facts,) = [block for block in one.blocks if isinstance(block, Facts)]
        assert dict(facts.items)["label"] == "not arrived yet"
        for late, value in ((2, 1.0), (5, 0.0)):  # the later arrival corrects the earlier one
            arrived = datetime(2020, 1, late, tzinfo=UTC)
            client.monitoring.add_labels("tiny", [Label(prediction_id="p7", label=value, arrived_at=arrived)])
        labelled = prediction(Visit(transport, {"id": "p7"}, {}))
        (facts,) = [block for block in labelled.blocks if isinstance(block, Facts)]
        assert str(dict(facts.items)["label"]).startswith("0")
        assert "2020-01-05" in str(dict(facts.items)["label"])
        assert client.monitoring.label("tiny", "p7", as_of=datetime(2020, 1, 3, tzinfo=UTC)).label == 1.0
        home = ["--home", str(tmp_path / "home")]
        said = CliRunner().invoke(cli, [*home, "predictions", "show", "p7"], catch_exceptions=False).output
        assert re.search(r"^label\s+0$", said, re.M)
        told = client.serving.explain("p7")
        assert abs(sum(told.contributions.values()) + told.base - told.score) < 1e-9
    finally:
        transport.close()
