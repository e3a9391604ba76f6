"""Deployments whose version is gone or damaged: each says why, and the others answer."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sqlalchemy import delete

from rung.app.local import LocalTransport, local_transport
from rung.client.client import Client
from rung.core.errors import Unavailable
from rung.core.settings import Settings
from rung.registry.loading import forget
from rung.registry.store.models import VERSION
from rung.serving.live import live_table, note_change

ROWS = pl.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), schema=["a", "b"], orient="row")


def _deployed(client: Client, *names: str) -> None:
    for place, name in enumerate(names):
        model = LogisticRegression(C=1.0 + place).fit(ROWS.to_numpy(), (ROWS["a"] > 0).to_numpy())
        client.registry.register(name, model, example=ROWS, label="y")
        client.serving.deploy(name, name, 1, environment="dev")


def _answers(client: Client, name: str) -> bool:
    return client.serving.predict(name, ROWS.head(2)).height == 2


def _digests(client: Client, model: str) -> list[str]:
    version = client.registry.version(model, 1)
    artifact = version.engine.artifact if version.engine is not None else None
    return [*(file.digest for file in version.files), *([artifact] if artifact else [])]


def _lose(transport: LocalTransport, model: str) -> None:
    """The registry's row of a version is gone, as no verb would let it."""
    digest = Client(transport).registry.version(model, 1).digest
    transport.platform.database.write(lambda connection: connection.execute(delete(VERSION).where(VERSION.c.digest == digest)))
    note_change()


def test_a_version_that_the_registry_has_lost_keeps_no_other_deployment_from_answering(settings: Settings) -> None:
    opened = local_transport(settings)
    client = Client(opened)
    _deployed(client, "first", "gone", "last")
    _lose(opened, "gone")
    opened.close()
    again = local_transport(settings)
    client = Client(again)
    assert _answers(client, "first")
    assert _answers(client, "last")
    with pytest.raises(Unavailable, match="'gone' cannot answer"):
        _answers(client, "gone")
    again.close()


def test_what_answers_goes_on_when_its_version_is_lost_and_others_are_deployed(client: Client, transport: LocalTransport) -> None:
    _deployed(client, "first", "gone")
    assert _answers(client, "gone")
    _lose(transport, "gone")
    _deployed(client, "late")
    assert _answers(client, "late")
    assert _answers(client, "gone")


def test_files_that_are_missing_are_told_once_in_the_log_and_with_every_answer(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    opened = local_transport(settings)
    client = Client(opened)
    _deployed(client, "whole", "bare")
    for digest in _digests(client, "bare"):
        opened.platform.blobs.delete(digest)
    opened.close()
    forget()
    again = local_transport(settings)
    client, platform = Client(again), again.platform
    with caplog.at_level(logging.WARNING, "rung.serving"):
        table = live_table(platform.database, platform.blobs, platform.settings)
        for _ in range(3):
            with pytest.raises(Unavailable, match="'bare' cannot answer"):
                _answers(client, "bare")
            table._again_at = 0.0  # as ten seconds later
            table.refresh()
            note_change()
    assert _answers(client, "whole")
    assert sum("bare cannot be loaded" in record.getMessage() for record in caplog.records) == 1
    again.close()
