"""Garbage: deleted things and orphaned blobs go for good, everything else stays."""

from __future__ import annotations

import pytest

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.errors import NotFound
from rung.tracking import records as r


def test_deleted_runs_go_with_their_points_and_blobs_and_living_ones_stay(client: Client, transport: LocalTransport) -> None:
    kept, gone = client.tracking.start("a"), client.tracking.start("a")
    for run in (kept, gone):
        client.tracking.log(run.id, metrics={"auc": 0.7})
        client.tracking.log_artifact(run.id, f"of {run.id}".encode(), "notes.txt")
        client.tracking.log_artifact(run.id, run.id.encode() * 10_000, "large.bin")
    orphan = transport.put_blob(b"named by nobody")
    client.tracking.delete(gone.id)
    planned = client.governance.collect_garbage(older_than_days=0, grace_hours=0, dry_run=True)
    assert (planned.removed["runs"], planned.blobs) == (1, 1)
    assert client.tracking.get(gone.id).deleted_at
    done = client.governance.collect_garbage(older_than_days=0, grace_hours=0)
    assert (done.removed["runs"], done.blobs) == (1, 3)
    with pytest.raises(NotFound):
        client.tracking.get(gone.id)
    with pytest.raises(NotFound):
        transport.get_blob(orphan)
    assert client.tracking.read_artifact(kept.id, "notes.txt") == f"of {kept.id}".encode()
    assert len(client.tracking.read_artifact(kept.id, "large.bin")) == 320_000
    assert client.transport.get_blob(kept.lock)
    assert client.tracking.history(kept.id, "auc").total == 1


def test_the_young_and_the_lately_deleted_stay(client: Client, transport: LocalTransport) -> None:
    run = client.tracking.start("a")
    client.tracking.delete(run.id)
    young = transport.put_blob(b"about to be named")
    done = client.governance.collect_garbage()
    assert (done.removed["runs"], done.blobs) == (0, 0)
    client.tracking.restore(run.id)
    assert transport.get_blob(young) == b"about to be named"


def test_a_deleted_experiment_goes_with_its_runs(client: Client, transport: LocalTransport) -> None:
    run = client.tracking.start("one")
    transport.call(r.DeleteExperiment(number=run.experiment_number))
    client.governance.collect_garbage(older_than_days=0)
    done = client.governance.collect_garbage(older_than_days=0)
    with pytest.raises(NotFound):
        transport.call(r.GetExperiment(number=run.experiment_number))
    assert done.removed["experiments"] in {0, 1}


def test_what_a_listed_blob_names_lives_on(client: Client, transport: LocalTransport) -> None:
    inner = transport.put_blob(b"a file of a snapshot")
    run = client.tracking.start("a")
    client.tracking.log_artifact(run.id, f'{{"files": ["{inner}"]}}'.encode(), "manifest.json")
    assert client.governance.collect_garbage(older_than_days=0, grace_hours=0).blobs == 0
    assert transport.get_blob(inner) == b"a file of a snapshot"
