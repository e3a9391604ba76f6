"""Collecting garbage and checking the storage, on each database engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.digests import digest_of
from rung.core.errors import NotFound
from rung.core.settings import Settings


@pytest.fixture
def client(any_settings: Settings) -> Iterator[Client]:
    with Client(local_transport(any_settings)) as opened:
        yield opened


def test_what_rows_name_stays_and_what_they_lack_is_told(client: Client, any_settings: Settings) -> None:
    run, gone = client.tracking.start("a"), client.tracking.start("a")
    for one in (run, gone):
        client.tracking.log(one.id, params={"lr": 0.1}, metrics={"auc": 0.7})
        client.tracking.log_artifact(one.id, one.id.encode(), "id.txt")
    orphan = client.transport.put_blob(b"named by nobody")
    client.tracking.delete(gone.id)
    assert client.governance.check_storage(sample=None).counts == {}
    done = client.governance.collect_garbage(older_than_days=0, grace_hours=0)
    assert (done.removed["runs"], done.blobs) == (1, 2)
    for digest in (orphan, digest_of(gone.id.encode())):
        with pytest.raises(NotFound):
            client.transport.get_blob(digest)
    report = client.governance.check_storage(sample=None)
    assert (report.sound, report.flaws) == (True, ())
    client.transport.platform.blobs.delete(digest_of(run.id.encode()))  # type: ignore[attr-defined]  # the embedded one
    assert [flaw.where for flaw in client.governance.check_storage().flaws] == ["artifact.digest"]
