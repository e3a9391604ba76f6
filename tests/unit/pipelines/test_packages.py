"""Packages: one digest everywhere, differences, files that are carried, releases and their rules."""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rung.app.local import LocalTransport, local_transport
from rung.client.client import Client
from rung.core.digests import digest_of
from rung.core.errors import Conflict, Denied, Invalid, NotFound
from rung.core.settings import load_settings
from rung.pipelines.package_rules import approvals_of, asymmetries, before_environment, canonical
from rung.pipelines.packaging import Package, PackageApproval, Release
from rung.pipelines.project import forget_modules
from rung.pipelines.records import Cause, PipelineRun

PROJECT = """
from rung import pipeline, step
from helpers import rate

@step
def load(n: int) -> list[int]:
    return list(range(n))

@step
def total(values: list[int]) -> float:
    return sum(values) * rate()

@pipeline
def train(n: int = 10):
    return total(load(n))

@pipeline
def other(n: int):
    return load(n)
"""
SETTINGS = """
[environments.staging]
[environments.production]
approvals = 0
"""
AT = datetime(2026, 1, 1, tzinfo=UTC)
A, B = "blake3:" + "a" * 64, "blake3:" + "b" * 64


def _project(place: Path, *, rate: str = "2.0", settings: str = SETTINGS) -> Path:
    place.mkdir(parents=True)
    (place / "rung.toml").write_text(settings)
    (place / "pipelines.py").write_text(PROJECT)
    (place / "helpers.py").write_text(f"def rate():\n    return {rate}\n")
    (place / "requirements.lock").write_text("# nothing but Rung\n")
    return place


def _forget(place: Path) -> None:
    forget_modules(place.resolve())
    for name in ("pipelines", "helpers"):
        sys.modules.pop(name, None)
    while str(place) in sys.path:
        sys.path.remove(str(place))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A project folder with two pipelines and a lock."""
    place = _project(tmp_path / "project")
    _forget(place)
    yield place
    _forget(place)


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    """A client of the project's own platform."""
    with Client(local_transport(load_settings(folder, environ={}))) as opened:
        yield opened


def test_packaging_twice_is_one_package(client: Client) -> None:
    first, second = client.packages.build(), client.packages.build()
    assert first == second
    assert first.pipelines == ("other", "train")
    assert client.packages.list() == (first,)


def test_another_machine_comes_to_the_same_digest(client: Client, folder: Path, tmp_path: Path) -> None:
    here = client.packages.build()
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".rung", "__pycache__"))
    (copy / "rung.toml").write_text(SETTINGS + '[rates]\ncurrency = "EUR"\n')  # settings of a machine are no content
    _forget(folder)
    with Client(local_transport(load_settings(copy, environ={}))) as other:
        assert other.packages.build().digest == here.digest
    _forget(copy)


def test_the_digest_is_that_of_the_canonical_content(client: Client) -> None:
    package = client.packages.build("train")
    detail = client.packages.get(package.digest[7:19])
    assert digest_of(canonical(detail.content)) == package.digest
    assert [spec.key for spec in detail.content.pipelines[0].steps] == ["load", "total"]
    assert "rung.toml" not in detail.content.files


def test_a_change_of_code_or_lock_is_another_package_and_shows(client: Client, folder: Path) -> None:
    before = client.packages.build("train")
    (folder / "helpers.py").write_text("def rate():\n    return 3.0\n")
    (folder / "requirements.lock").write_text("# nothing but Rung, as of today\n")
    (folder / "pipelines.py").write_text(PROJECT.replace("n: int = 10", "n: int = 11"))
    after = client.packages.build("train")
    changes = {(change.what, change.name) for change in client.packages.diff(before.digest, after.digest).changes}
    assert changes == {
        ("lock", "lock"), ("parameter", "train.n"), ("file", "helpers.py"), ("file", "pipelines.py"), ("file", "requirements.lock"),
        ("step", "train.load"),
    }  # fmt: skip


def test_a_project_without_a_lock_is_not_packaged(client: Client, folder: Path) -> None:
    (folder / "requirements.lock").unlink()
    with pytest.raises(Invalid, match="no lock"):
        client.packages.build()
    assert client.packages.build(freeze=True).lock_kind == "installed"


def test_an_unknown_pipeline_or_package_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match="nothing"):
        client.packages.build("nothing")
    for odd in ("abcdef", "typo", "%", "a\0b", "blake3:", "0" * 100):
        with pytest.raises(NotFound, match="There is no package"):
            client.packages.get(odd)


def test_a_package_is_carried_to_another_server(client: Client, tmp_path: Path, transport: LocalTransport) -> None:
    package = client.packages.build("train")
    file = client.packages.export_to(package.digest, tmp_path / "train.rungpkg")
    there = Client(transport).packages
    assert there.import_from(file).digest == package.digest
    assert there.list()[0].origin == "file train.rungpkg"
    assert file.read_bytes() == client.packages.export_to(package.digest, tmp_path / "again.rungpkg").read_bytes()


def test_a_file_that_was_changed_on_the_way_is_refused(client: Client, tmp_path: Path, transport: LocalTransport) -> None:
    file = client.packages.export_to(client.packages.build("train").digest, tmp_path / "train.rungpkg")
    changed = tmp_path / "changed.rungpkg"
    buffer = io.BytesIO()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"2.0", b"9.9") if name.startswith("blobs/") else source.read(name))
    changed.write_bytes(buffer.getvalue())
    there = Client(transport).packages
    with pytest.raises(Invalid, match="was changed"):
        there.import_from(changed)
    changed.write_bytes(b"no archive")
    with pytest.raises(Invalid, match="no whole package"):
        there.import_from(changed)
    assert there.list() == ()


def test_production_wants_success_in_staging_first(client: Client) -> None:
    package = client.packages.build("train")
    with pytest.raises(Conflict, match="has not succeeded in staging"):
        client.packages.release(package.digest, "production")
    staged = client.packages.release(package.digest, "staging")
    assert (staged.status, staged.environment, staged.package) == ("succeeded", "staging", package.digest)
    released = client.packages.release(package.digest, "production", params={"n": 4})
    run = client.pipelines.get(str(released.pipeline_run)).run
    assert (run.status, run.environment, run.package, run.params) == ("succeeded", "production", package.digest, {"n": 4})
    assert client.packages.check().holds


def test_a_reason_overrides_and_is_kept(client: Client) -> None:
    package = client.packages.build("train")
    released = client.packages.release(package.digest, "production", override_reason="the fire is now")
    assert released.override_reason == "the fire is now"
    assert "has not succeeded in staging" in released.overridden[0]
    report = client.packages.check()
    assert (report.holds, report.asymmetries[0].override_reason) == (False, "the fire is now")


def test_a_run_from_the_folder_in_production_shows(client: Client) -> None:
    package = client.packages.build("train")
    client.packages.release(package.digest, "staging")
    client.pipelines.register()
    from rung.pipelines.records import RunPipeline

    client.transport.call(RunPipeline(pipeline="train", environment="production"))
    report = client.packages.check()
    assert not report.holds
    assert "working folder" in report.asymmetries[0].reason
    assert report.asymmetries[0].succeeded == (package.digest,)


def test_an_environment_nobody_declared_is_refused_with_the_nearest(client: Client) -> None:
    package = client.packages.build("train")
    with pytest.raises(Invalid, match="prodution") as caught:
        client.packages.release(package.digest, "prodution")
    assert "production" in str(caught.value)


def test_a_package_of_several_pipelines_asks_for_one(client: Client) -> None:
    package = client.packages.build()
    with pytest.raises(Invalid, match="several"):
        client.packages.release(package.digest, "staging")
    assert client.packages.release(package.digest, "staging", pipeline="other", params={"n": 3}).status == "succeeded"


def test_parameters_of_a_release_are_those_of_the_package(client: Client) -> None:
    package = client.packages.build("train")
    with pytest.raises(Invalid, match="no parameter 'm'"):
        client.packages.release(package.digest, "staging", params={"m": 3})


def test_nobody_approves_an_own_package(client: Client) -> None:
    package = client.packages.build("train")
    with pytest.raises(Denied, match="cannot approve"):
        client.packages.approve(package.digest, "production")


def test_a_rejected_package_is_not_released(client: Client) -> None:
    package = client.packages.build("train")
    no = client.packages.reject(package.digest, "staging", comment="wrong rate")
    with pytest.raises(Conflict, match="rejected"):
        client.packages.release(package.digest, "staging")
    client.packages.revoke(no.id)
    assert client.packages.release(package.digest, "staging").status == "succeeded"


def test_each_person_counts_once_and_never_the_maker_or_the_asking() -> None:
    package = Package(
        digest=A, pipelines=("train",), rung="0", python="3.11", files=1, size_bytes=1, lock=A, lock_kind="uv.lock", created_at=AT, created_by="eve"
    )  # fmt: skip
    given = [_approval(by) for by in ("eve", "ada", "ada", "bob")]
    state = approvals_of(package, "production", 2, given, asking="bob")
    assert (state.counted, state.missing.startswith("It has 1 of 2")) == (1, True)
    assert approvals_of(package, "production", 2, [*given, _approval("kim")], asking="bob").missing == ""


def test_the_usual_environments_have_the_usual_order() -> None:
    assert before_environment("production", ("production", "staging")) == "staging"
    assert before_environment("staging", ("production", "staging")) is None
    assert before_environment("staging", ("test", "staging")) == "test"
    assert before_environment("eu", ("canary", "eu")) == "canary"
    assert before_environment("canary", ("canary", "eu")) is None


def test_a_digest_that_succeeded_later_does_not_excuse_an_earlier_run() -> None:
    staged = [_release(A, "staging", AT)]
    runs = [
        _run("1" * 32, A, AT - timedelta(hours=1)),
        _run("2" * 32, A, AT + timedelta(hours=1)),
        _run("3" * 32, B, AT + timedelta(hours=1)),
    ]
    found = asymmetries(runs, [], staged, "staging")
    assert sorted(one.pipeline_run for one in found if one.pipeline_run) == ["1" * 32, "3" * 32]


def _approval(by: str) -> PackageApproval:
    return PackageApproval(id="0" * 32, package=A, environment="production", by=by, created_at=AT)


def _release(package: str, environment: str, at: datetime) -> Release:
    return Release(
        id="9" * 32, package=package, pipeline="train", environment=environment, status="succeeded", created_at=at, created_by="eve", ended_at=at
    )  # fmt: skip


def _run(identity: str, package: str, at: datetime) -> PipelineRun:
    return PipelineRun(
        id=identity, number=1, pipeline="train", status="succeeded", params={}, cause=Cause(), seed=0, use_cache=True, created_at=at,
        created_by="eve", package=package, environment="production",
    )  # fmt: skip


def test_a_release_runs_the_packages_code_not_the_folders(client: Client, folder: Path) -> None:
    package = client.packages.build("train")
    (folder / "helpers.py").write_text("def rate():\n    return 100.0\n")
    released = client.packages.release(package.digest, "staging")
    assert client.pipelines.output(str(released.pipeline_run)) == 90.0
