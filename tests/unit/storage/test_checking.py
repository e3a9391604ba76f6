"""The check of what is stored: sound storage has no flaws, each kind of damage has a name, and repairing is safe."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from rung.app.local import LocalTransport
from rung.cli.main import cli
from rung.client.client import Client
from rung.core.digests import digest_of
from rung.core.errors import Denied
from rung.governance.records import StorageReport
from rung.storage.blobs.local import LocalBlobs

LARGE = b"large " * 50_000


@pytest.fixture
def blobs(transport: LocalTransport) -> LocalBlobs:
    held = transport.platform.blobs
    assert isinstance(held, LocalBlobs)
    return held


@pytest.fixture
def run(client: Client) -> str:
    """A run with a small and a large artifact."""
    run = client.tracking.start("a")
    client.tracking.log_artifact(run.id, b"small", "small.txt")
    client.tracking.log_artifact(run.id, LARGE, "large.bin")
    return run.id


def check(client: Client, *, repair: bool = False) -> StorageReport:
    return client.governance.check_storage(sample=None, repair=repair)


def spoil(blobs: LocalBlobs, data: bytes) -> None:
    """Flip a bit of a blob where it lies."""
    for path in blobs.root.rglob("*"):
        if path.is_file() and not path.name.startswith("index") and data in (held := path.read_bytes()):
            path.chmod(0o600)
            at = held.index(data)
            path.write_bytes(held[:at] + bytes([held[at] ^ 1]) + held[at + 1 :])
            return
    raise AssertionError("nowhere")


def test_what_is_sound_has_no_flaws(client: Client, run: str) -> None:
    report = check(client)
    assert (report.flaws, report.counts, report.sound) == ((), {}, True)
    assert report.read == report.blobs >= 2
    assert report.names >= 2


def test_a_sample_reads_so_many_and_no_more(client: Client, run: str) -> None:
    assert client.governance.check_storage(sample=1).read == 1
    assert client.governance.check_storage(sample=0).read == 0


@pytest.mark.parametrize("data", [b"small", LARGE])
def test_a_damaged_blob_is_found_set_aside_and_can_be_put_again(client: Client, run: str, blobs: LocalBlobs, data: bytes) -> None:
    spoil(blobs, data)
    found = check(client)
    assert not found.sound
    assert [flaw.where for flaw in found.flaws if flaw.kind == "damaged"] == [digest_of(data)]
    assert check(client, repair=True).counts["missing"] == 1  # set aside, and the artifact still names it
    assert list((blobs.root / "quarantine").iterdir())
    client.transport.put_blob(data)
    after = check(client)
    assert (after.flaws, after.sound) == ((), True)
    assert client.tracking.read_artifact(run, "small.txt") == b"small"
    assert client.tracking.read_artifact(run, "large.bin") == LARGE


def test_a_damaged_blob_of_which_its_pack_holds_a_copy_is_mended(client: Client, run: str, blobs: LocalBlobs) -> None:
    pack = next((blobs.root / "packs").glob("*.pack"))
    whole = pack.read_bytes()
    with closing(sqlite3.connect(blobs.root / "packs" / "index.db", isolation_level=None)) as index:
        index.execute("UPDATE blob SET stamp = stamp - 7200000000000")
    blobs.put(b"small")  # old by now, so that it is appended again
    held = pack.read_bytes()
    at = held.index(b"small", len(whole))
    pack.write_bytes(held[:at] + b"S" + held[at + 1 :])
    blobs.put(b"behind it")  # so that the damage is no torn tail
    assert client.tracking.read_artifact(run, "small.txt") == b"small"
    report = check(client, repair=True)
    assert [(flaw.kind, flaw.mended) for flaw in report.flaws] == [("pack", True)]
    assert check(client).flaws == ()
    assert client.tracking.read_artifact(run, "small.txt") == b"small"


def test_a_damaged_file_of_which_a_pack_holds_a_copy_is_mended(client: Client, run: str, blobs: LocalBlobs) -> None:
    digest = digest_of(b"small")
    file = blobs.root / digest[7:9] / digest[9:]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"SMALL")
    report = check(client, repair=True)
    assert [(flaw.kind, flaw.where, flaw.mended) for flaw in report.flaws] == [("damaged", digest, True)]
    assert check(client).flaws == ()
    assert client.tracking.read_artifact(run, "small.txt") == b"small"


def test_a_row_without_its_blob_is_named(client: Client, run: str, blobs: LocalBlobs) -> None:
    blobs.delete(digest_of(LARGE))
    report = client.governance.check_storage(sample=0)
    assert [(flaw.kind, flaw.where, flaw.detail) for flaw in report.flaws] == [("missing", "artifact.digest", digest_of(LARGE))]
    assert not report.sound


def test_digests_of_other_projects_are_counted_and_not_told(client: Client, run: str, blobs: LocalBlobs, transport: LocalTransport) -> None:
    client.governance.create_project("other")
    blobs.delete(digest_of(LARGE))
    token = (transport.platform.settings.home_path / "token").read_text().strip()
    other = Client(LocalTransport(transport.platform, token=token, project="other"))
    assert [flaw.detail for flaw in other.governance.check_storage(sample=0).flaws] == ["of another project"]


def test_an_index_that_lost_a_blob_or_kept_one_too_long_is_made_anew(client: Client, run: str, blobs: LocalBlobs) -> None:
    gone = blobs.put(b"gone")
    blobs.delete(gone)
    with closing(sqlite3.connect(blobs.root / "packs" / "index.db", isolation_level=None)) as index:
        index.execute("INSERT INTO blob SELECT ?, pack, at, size, 1, sure FROM blob LIMIT 1", (bytes.fromhex(gone[7:]),))
        index.execute("DELETE FROM blob WHERE digest = ?", (bytes.fromhex(digest_of(b"small")[7:]),))
        index.execute("INSERT INTO blob VALUES (randomblob(32), 'lost.pack', 10, 10, 1, 1)")
    assert client.governance.check_storage(sample=0).counts == {"index": 1, "missing": 1}  # without reading packs
    assert check(client, repair=True).counts["index"] == 2  # a look at the third was enough to forget it
    assert check(client).sound
    assert client.tracking.read_artifact(run, "small.txt") == b"small"
    assert not blobs.exists(gone)


def test_leftovers_and_strays_are_told_and_only_old_leftovers_go(client: Client, run: str, blobs: LocalBlobs) -> None:
    old, new = blobs.root / "incoming" / "old", blobs.root / "incoming" / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    (blobs.root / "ab").mkdir(exist_ok=True)
    (blobs.root / "ab" / "notes.txt").write_bytes(b"mine")
    report = check(client, repair=True)
    assert report.counts == {"leftover": 1, "stray": 1}
    assert report.sound
    assert (old.exists(), new.exists(), (blobs.root / "ab" / "notes.txt").exists()) == (False, True, True)


def test_rows_of_no_project_are_told(client: Client, run: str, transport: LocalTransport) -> None:
    transport.platform.database.write(lambda connection: connection.execute(text("UPDATE run SET project = 'f' WHERE 1 = 1")) and None)
    report = client.governance.check_storage(sample=0)
    assert [(flaw.kind, flaw.where) for flaw in report.flaws] == [("project", "run")]
    assert not report.sound


def test_it_takes_the_right_to_administer_the_storage(client: Client, transport: LocalTransport) -> None:
    client.governance.create_principal("edits", role="editor")
    token = client.governance.create_token("edits")
    with pytest.raises(Denied):
        Client(LocalTransport(transport.platform, token=token.secret)).governance.check_storage()


@pytest.fixture
def shell(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_HOME", str(home))
    return CliRunner()


def test_the_command_ends_with_0_when_sound_and_1_when_not(client: Client, run: str, blobs: LocalBlobs, shell: CliRunner) -> None:
    told = shell.invoke(cli, ["fsck", "--all"])
    assert (told.exit_code, "nothing is wrong" in told.output) == (0, True)
    spoil(blobs, LARGE)
    assert shell.invoke(cli, ["fsck", "--all"]).exit_code == 1
    told = shell.invoke(cli, ["fsck", "--all", "--json"])
    assert (told.exit_code, json.loads(told.stdout)["counts"]) == (1, {"damaged": 1})
