"""Audit notices what a step reads without declaring it, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rung.pipelines.audit import undeclared, watching


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    (place / "data").mkdir(parents=True)
    (place / "data" / "rates.csv").write_text("a,b\n1,2\n")
    return place


def _seen(folder: Path, work: Any, files: tuple[str, ...] = (), variables: tuple[str, ...] = ()) -> tuple[str, ...]:
    with watching(folder, scratch=folder / "scratch", home=folder / ".rung") as watch:
        work()
    return undeclared(watch.undeclared, files=files, variables=variables)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: open(path).read(),  # noqa: SIM115 - the bare call is what is watched
        lambda path: path.read_text(),
        lambda path: path.read_bytes(),
        lambda path: os.read(os.open(path, os.O_RDONLY), 3),
        lambda path: pl.read_csv(path),  # noqa: PLW0108 - the name is looked up when it is called
        lambda path: pl.scan_csv(str(path)).collect(),
        lambda path: __import__("pandas").read_csv(path),
        lambda path: __import__("numpy").loadtxt(path, delimiter=",", skiprows=1),
        lambda path: pl.read_csv(path.open("rb")),
    ],
    ids=["open", "read_text", "read_bytes", "os.open", "polars", "polars lazy", "pandas", "numpy", "file object"],
)
def test_a_file_that_is_read_is_noticed(folder: Path, read: Any) -> None:
    assert "file data/rates.csv" in _seen(folder, lambda: read(folder / "data" / "rates.csv"))


def test_a_file_outside_the_project_is_told_by_its_whole_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = folder.parent / "other.csv"
    other.write_text("1")
    monkeypatch.setattr(tempfile, "tempdir", str(folder.parent / "tmp"))
    assert _seen(folder, other.read_text) == (f"file {other}",)


def test_folders_that_are_listed_are_noticed(folder: Path) -> None:
    assert _seen(folder, lambda: os.listdir(folder / "data")) == ("folder data",)
    assert _seen(folder, lambda: list((folder / "data").iterdir())) == ("folder data",)
    assert "folder data" in _seen(folder, lambda: list((folder / "data").glob("*.csv")))


def test_declared_files_are_not_told(folder: Path) -> None:
    for declared in ("data/*.csv", "data/rates.csv", "data", "data/"):
        assert _seen(folder, (folder / "data" / "rates.csv").read_text, files=(declared,)) == ()


def test_what_the_step_wrote_itself_is_not_told(folder: Path) -> None:
    def work() -> None:
        (folder / "out.txt").write_text("1")
        (folder / "out.txt").read_text()

    assert _seen(folder, work) == ()


def test_scratch_home_temporary_files_code_and_libraries_do_not_count(folder: Path) -> None:
    for place in ("scratch", ".rung"):
        (folder / place).mkdir()
        (folder / place / "x").write_text("1")
    (folder / "helper.py").write_text("A = 1\n")

    def work() -> None:
        (folder / "scratch" / "x").read_text()
        (folder / ".rung" / "x").read_text()
        (folder / "helper.py").read_text()
        Path(pytest.__file__).read_text()
        Path(os.__file__).read_text()
        Path("/dev/null").read_text()
        with tempfile.TemporaryFile() as file:
            file.write(b"1")
        import wave  # noqa: F401

    assert _seen(folder, work) == ()


def test_a_variable_is_noticed_however_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_BASE", "x")
    for read in (
        lambda: os.environ["API_BASE"],
        lambda: os.environ.get("API_BASE"),
        lambda: os.getenv("API_BASE"),
        lambda: "API_BASE" in os.environ,
    ):
        found = _seen(folder, read)
        assert found in {("variable API_BASE",), ()}
    assert _seen(folder, lambda: os.environ.get("API_BASE")) == ("variable API_BASE",)
    assert _seen(folder, lambda: os.environ.get("NOT_THERE")) == ("variable NOT_THERE",)
    assert _seen(folder, lambda: os.environ.get("API_BASE"), variables=("API_BASE",)) == ()


def test_a_copy_of_the_whole_environment_is_one_line(folder: Path) -> None:
    assert _seen(folder, lambda: dict(os.environ)) == ("variable *",)


def test_programs_are_noticed(folder: Path) -> None:
    assert "program true" in _seen(folder, lambda: subprocess.run(["true"], check=True))
    assert "program true" in _seen(folder, lambda: os.system("true 1"))


def test_hosts_are_noticed(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def work() -> None:
            with socket.create_connection(("127.0.0.1", port)):
                pass

        assert f"host 127.0.0.1:{port}" in _seen(folder, work)


def test_a_thread_that_the_step_starts_is_watched_too(folder: Path) -> None:
    def read() -> None:
        (folder / "data" / "rates.csv").read_text()

    def work() -> None:
        thread = threading.Thread(target=(folder / "data" / "rates.csv").read_text)
        other = threading.Thread(target=read)
        for item in (thread, other):
            item.start()
            item.join()

    assert _seen(folder, work) == ("file data/rates.csv",)


def test_two_steps_side_by_side_are_told_apart(folder: Path) -> None:
    (folder / "data" / "b.csv").write_text("1")
    found: dict[str, tuple[str, ...]] = {}
    both = threading.Barrier(2)

    def step(name: str) -> None:
        with watching(folder) as watch:
            both.wait()
            (folder / "data" / name).read_text()
            both.wait()
        found[name] = watch.undeclared

    threads = [threading.Thread(target=step, args=(name,)) for name in ("rates.csv", "b.csv")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"rates.csv": ("file data/rates.csv",), "b.csv": ("file data/b.csv",)}


def test_nothing_is_watched_outside_and_everything_is_as_before(folder: Path) -> None:
    getter = type(os.environ).__getitem__
    reader = pl.read_csv
    with watching(folder):
        pass
    assert type(os.environ).__getitem__ is getter
    assert pl.read_csv is reader
    (folder / "data" / "rates.csv").read_text()


def test_an_error_of_the_step_comes_through(folder: Path) -> None:
    with pytest.raises(FileNotFoundError), watching(folder):
        (folder / "gone").read_text()
    with pytest.raises(TypeError), watching(folder):
        os.open(1.5, 0)  # type: ignore[arg-type]


def test_it_works_in_a_process_of_its_own(folder: Path) -> None:
    (folder / "steps.py").write_text("import os\ndef run():\n    os.environ.get('KEY')\n    return open('data/rates.csv').read()\n")
    program = (
        "import sys; sys.path.insert(0, '.')\nfrom pathlib import Path\nfrom rung.pipelines.audit import watching\nimport steps\n"
        "with watching(Path('.')) as seen:\n    steps.run()\nprint(seen.undeclared)"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert told.strip() == "('file data/rates.csv', 'variable KEY')"
