"""Tests of a project's pipelines: scaffold them, run them, keep how they ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from rung.client.client import Client
from rung.client.transports import Transport
from rung.core.errors import AlreadyExists, NotFound, Unavailable
from rung.core.records import Page
from rung.core.settings import Settings, load_settings
from rung.pipelines.authoring import Step
from rung.pipelines.testing import records as t
from rung.pipelines.testing.rules import tested
from rung.pipelines.testing.scaffold import FOLDER, Wish, scaffold

_NOTHING_COLLECTED = 5


class _Told(msgspec.Struct):
    """What the pytest plug-in writes."""

    checks: tuple[t.TestCheck, ...]
    wall_s: float


class TestingVerbs:
    """Verbs of pipeline tests. Scaffolds and runs happen in the project's folder here; reports go to the platform."""

    __test__ = False

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def scaffold(
        self, pipeline: str, params: Mapping[str, Any] | None = None, *, samples: Mapping[str, Path | str] | None = None,
        datasets: Mapping[str, Path | str] | None = None, label: str = "", rows: int = 500, overwrite: bool = False,
    ) -> tuple[Path, ...]:  # fmt: skip
        """Write tests of a pipeline into ``tests/pipelines`` of the project, with small samples beside them.

        Args:
            pipeline: its name.
            params: values of its parameters, for the plan and for a run of the whole.
            samples: for parameters of steps a file, or a dataset version such as ``training-set:1``.
            datasets: what a fresh platform has before the whole pipeline runs in it: files or dataset versions by dataset.
            label: the column that a model learns.
            rows: how many rows of a sample are kept; those of datasets are kept all.
            overwrite: replace tests that are there already.

        Raises:
            NotFound: there is no such pipeline, file or dataset version. Invalid: a sample that no step takes.
            AlreadyExists: the tests are there already.
        """
        from rung.pipelines.describing import typed_params  # noqa: PLC0415 - what imports the project's code
        from rung.pipelines.project import load_project  # noqa: PLC0415 - the same
        from rung.pipelines.tracing import trace  # noqa: PLC0415 - the same

        settings = self._settings()
        project = load_project(settings)
        found = project.pipeline(pipeline)
        given = dict(params or {})
        plan = trace(found, typed_params(found, given))
        files = {name: f"{name}.parquet" for name in {**(samples or {}), **(datasets or {})}}
        wish = Wish(
            found, plan, given, samples={name: files[name] for name in samples or {}}, datasets={name: files[name] for name in datasets or {}},
            label=label,
        )  # fmt: skip
        written = [(project.folder / file.path, file.text) for file in scaffold(wish)]
        held = [path for path, _ in written if path.exists() and path.name != "conftest.py"]
        if held and not overwrite:
            raise AlreadyExists(f"{held[0]} is there already.", code="pipelines.tests_exist", hint="Change it, or pass --overwrite.")
        place = project.folder / FOLDER / "samples"
        place.mkdir(parents=True, exist_ok=True)
        for name, source in (datasets or {}).items():
            self._sampled(source, None, label).write_parquet(place / files[name])
        for name, source in (samples or {}).items():
            self._sampled(source, rows, label).write_parquet(place / files[name])
        for path, text in written:
            if path.name != "conftest.py" or not path.exists():
                path.write_text(text)
        return tuple(path for path, _ in written)

    def run(self, paths: Sequence[str] = (), *, only: str = "", junit: Path | None = None, quiet: bool = False) -> t.TestReport:
        """Run the project's pipeline tests in a process of their own; the report, which the platform keeps.

        Args:
            paths: files or folders of tests; default ``tests/pipelines``.
            only: a pytest expression of names.
            junit: where to write a report for CI systems.
            quiet: keep what pytest prints to itself.

        Raises:
            NotFound: there are no tests. Unavailable: pytest is not installed, or could not run them.
        """
        settings = self._settings()
        folder = Path(settings.folder or ".").resolve()
        told = _tested(folder, list(paths) or [FOLDER], only=only, junit=junit, quiet=quiet)
        return self._transport.call(self._report(settings, folder, told))

    def list(self, *, pipeline: str | None = None, after: int | None = None, limit: int = 20) -> Page[t.TestReport]:
        """Reports, newest first."""
        return self._transport.call(t.ListTestReports(pipeline=pipeline, after=after, limit=limit))

    def get(self, number: int | None = None) -> t.TestReport:
        """A report by its number, or the newest."""
        return self._transport.call(t.GetTestReport(number=number))

    def _settings(self) -> Settings:
        platform = getattr(self._transport, "platform", None)
        found: Settings = platform.settings if platform is not None else load_settings()
        return found

    def _sampled(self, source: Path | str, rows: int | None, label: str) -> Any:
        """A small frame of a file or of a dataset version."""
        from rung.pipelines.testing.checks import first_rows, read_sample  # noqa: PLC0415 - loads NumPy and Polars

        name, _, number = str(source).rpartition(":")
        if Path(source).is_file():
            frame = read_sample(source)
        elif name and number.isdigit():
            from rung.client.data import DataVerbs  # noqa: PLC0415 - loads Polars

            frame = DataVerbs(self._transport).frame(name, int(number))
        else:
            raise NotFound(f"There is no file {str(source)!r}.", code="pipelines.no_sample", hint="Name a file, or DATASET:NUMBER.")
        if rows is None:
            return frame
        return first_rows(frame, rows, label if label in frame.columns else "")

    def _report(self, settings: Settings, folder: Path, told: _Told) -> t.RecordTestReport:
        from rung.pipelines.environment import git_state  # noqa: PLC0415 - what imports the project's code
        from rung.pipelines.project import load_project, snapshot  # noqa: PLC0415 - the same

        project = load_project(settings)
        prints = _fingerprints(project.folder)
        commit, dirty = git_state(folder)
        checks = tuple(tested(check, prints.get(check.step, "")) for check in told.checks)
        return t.RecordTestReport(
            checks=checks, wall_s=told.wall_s, code=snapshot(project, self._transport.put_blob), fingerprints=prints, git_commit=commit,
            git_dirty=dirty, source=os.environ.get("GITHUB_WORKFLOW") or os.environ.get("CI_JOB_NAME") or ("ci" if os.environ.get("CI") else "local"),
        )  # fmt: skip


@contextmanager
def fresh_platform(home: Path, folder: Path | None = None) -> Iterator[Client]:
    """A client of an embedded platform in an empty home, for a test; gone with it."""
    from rung.app.local import local_transport  # noqa: PLC0415 - loads the platform

    held = load_settings(folder or Path.cwd(), environ={}, flags={"home": str(home), "url": "", "token": ""})
    client = Client(local_transport(held))
    try:
        yield client
    finally:
        client.close()


def _tested(folder: Path, paths: list[str], *, only: str, junit: Path | None, quiet: bool) -> _Told:
    missing = [path for path in paths if not (folder / path.partition("::")[0]).exists()]
    if missing:
        raise NotFound(
            f"There are no tests in {folder / missing[0]}.", code="pipelines.no_tests", hint="`rung test --scaffold PIPELINE` writes some."
        )
    if find_spec("pytest") is None:
        raise Unavailable("pytest is not installed.", code="pipelines.no_pytest", hint="pip install pytest")
    scratch = Path(tempfile.mkdtemp(prefix="rung-test-"))
    try:
        report = scratch / "report.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "rung.pipelines.testing.plugin",
            "-p",
            "no:cacheprovider",
            "--import-mode=importlib",
        ]
        command += [f"--rung-report={report}", "--color=yes" if sys.stderr.isatty() and not quiet else "--color=no", "-q"]
        command += [f"--junit-xml={junit.resolve()}"] if junit else []
        command += ["-k", only] if only else []
        ended = subprocess.run(
            [*command, *paths], cwd=folder, env={**os.environ, "PYTHONHASHSEED": "0"}, stdout=subprocess.PIPE if quiet else sys.stderr,
            stderr=subprocess.STDOUT if quiet else sys.stderr, check=False,
        )  # fmt: skip
        if ended.returncode == _NOTHING_COLLECTED:
            raise NotFound("No test was found.", code="pipelines.no_tests", hint="`rung test --scaffold PIPELINE` writes some.")
        told = msgspec.json.decode(report.read_bytes(), type=_Told) if report.is_file() else None
        if told is None or not told.checks:
            said = (ended.stdout or b"").decode("utf-8", "replace")[-2000:]
            raise Unavailable(
                f"The tests could not be run: pytest ended with {ended.returncode}.{(chr(10) + said) if said else ''}",
                code="pipelines.tests_broken", hint="Look at what pytest printed.",
            )  # fmt: skip
        return told
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fingerprints(folder: Path) -> dict[str, str]:
    """Fingerprints of the steps in a project's modules, by name; two steps of one name tell nothing."""
    from rung.pipelines.fingerprint import fingerprint  # noqa: PLC0415 - loads NumPy

    found: dict[str, set[str]] = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is None or folder not in Path(file).parents:
            continue
        for value in list(vars(module).values()):
            if isinstance(value, Step):
                found.setdefault(value.name, set()).add(fingerprint(value.function).digest)
    return {name: digests.pop() for name, digests in sorted(found.items()) if len(digests) == 1}
