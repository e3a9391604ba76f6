"""Garbage: deleted things and orphaned blobs go for good, everything else stays."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import LargeBinary

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.digests import digest_of
from rung.core.errors import Denied, NotFound, Unavailable
from rung.storage.blobs.local import LocalBlobs
from rung.storage.purging import digests_in
from rung.storage.tables import metadata
from rung.tracking import records as r
from rung.tracking.artifacts import LogArtifact


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


def test_what_every_area_forgets_is_known_though_nobody_asked_the_area_before(tmp_path: Path) -> None:
    # a process of its own: here the handlers of all areas are imported long since
    program = """
import sys
from rung.app.local import local_transport
from rung.core.settings import load_settings
from rung.governance.records import CollectGarbage
transport = local_transport(load_settings(flags={"home": sys.argv[1]}))
print(*transport.call(CollectGarbage(dry_run=True)).removed, sep=",")
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True)
    assert {"experiments", "logged models", "model versions", "models", "runs"} <= set(done.stdout.strip().split(","))


def test_the_audit_log_tells_what_was_and_keeps_no_bytes(client: Client, transport: LocalTransport, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    client.data.add("numbers", tmp_path / "t.csv")
    orphan = transport.put_blob(b"asked about, never named")
    with pytest.raises(Denied):  # the refusal is audited with the request's digest
        _as_viewer(transport).call(LogArtifact(owner="files", path="x", digest=orphan, size_bytes=24))
    assert any(orphan in str(event.request) for event in client.governance.audit().items)
    assert client.governance.collect_garbage(grace_hours=0).blobs == 2  # and the CSV file, kept as Parquet since
    with pytest.raises(NotFound):
        transport.get_blob(orphan)
    assert client.data.frame("numbers").height == 1


def test_no_column_of_bytes_may_hold_a_digest_that_the_mark_would_not_see() -> None:
    columns = {f"{table.name}.{c.name}" for table in metadata().sorted_tables for c in table.columns if isinstance(c.type, LargeBinary)}
    assert columns == {"metric_chunk.data", "metric_chunk.summary"}, "packed points only; keep digests in columns of text"


def test_a_blob_is_read_once_to_see_what_it_names(client: Client, transport: LocalTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = transport.put_blob(b"a file of a snapshot")
    run = client.tracking.start("a")
    client.tracking.log_artifact(run.id, f'{{"files": ["{inner}"]}}'.encode(), "manifest.json")
    client.tracking.log_artifact(run.id, b"x" * (5 << 20), "data.bin")
    asked: list[str] = []
    real = LocalBlobs.get
    monkeypatch.setattr(LocalBlobs, "get", lambda self, digest: (asked.append(digest), real(self, digest))[1])
    for reads in (True, False):
        asked.clear()
        assert client.governance.collect_garbage(grace_hours=0).blobs == 0
        assert (len(asked) >= 2) is reads
        assert digest_of(b"x" * (5 << 20)) not in asked
    (transport.platform.settings.home_path / "named.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(Unavailable, match="damaged"):
        client.governance.collect_garbage(grace_hours=0)
    assert client.governance.collect_garbage(grace_hours=0).blobs == 0


def test_a_blob_put_again_before_it_is_named_outlives_a_collection(client: Client, transport: LocalTransport) -> None:
    data = b"uploaded last week, forgotten, uploaded again now"
    digest = transport.put_blob(data)
    _age(transport, digest, hours=48)
    assert client.governance.collect_garbage(dry_run=True).blobs == 1
    transport.put_blob(data)
    assert client.governance.collect_garbage().blobs == 0
    assert transport.get_blob(digest) == data


def test_digests_in_bytes_that_a_row_keeps_inline_are_seen() -> None:
    inner, outer = digest_of(b"inner"), digest_of(b"outer")
    for padding in range(3):
        data = b" " * padding + f'{{"files": ["{inner}"]}}'.encode()
        value = msgspec.json.encode([{"digest": outer, "inline": data}, {"digest": outer, "inline": b""}]).decode()
        assert set(digests_in(value)) == {outer, inner}


def _age(transport: LocalTransport, digest: str, *, hours: float) -> None:
    folder = transport.platform.settings.home_path / "blobs" / "packs"
    with closing(sqlite3.connect(folder / "index.db", isolation_level=None)) as index:
        index.execute("UPDATE blob SET stamp = stamp - ? WHERE digest = ?", (int(hours * 3600e9), bytes.fromhex(digest[7:])))


def _as_viewer(transport: LocalTransport) -> LocalTransport:
    Client(transport).governance.create_principal("looks-on", role="viewer")
    token = Client(transport).governance.create_token("looks-on")
    return LocalTransport(transport.platform, token=token.secret)
