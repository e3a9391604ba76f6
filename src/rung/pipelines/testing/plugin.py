"""The pytest plug-in of ``rung test``: writes what each test proved, and how it ended, into a file.

Loaded by ``-p rung.pipelines.testing.plugin``; ``--rung-report FILE`` says where to. A test names what it proves by
``@pytest.mark.rung_check("converges", pipeline="train", step="fit")``.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from rung.pipelines.testing.records import CheckKind, CheckOutcome, TestCheck

_LONGEST = 4000
_KINDS: frozenset[CheckKind] = frozenset(get_args(CheckKind))


class Recorder:
    """Collects checks of one pytest session."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._checks: dict[str, TestCheck] = {}
        self._began = time.perf_counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Generator[None, Any, Any]:
        """Enter how a phase of a test ended; the worst phase counts."""
        report = yield
        if report.when == "call" or report.outcome != "passed":
            self._enter(item, report)
        return report

    def _enter(self, item: Any, report: Any) -> None:
        held = self._checks.get(item.nodeid)
        if held is not None and held.outcome in {"failed", "error"}:
            return
        mark = item.get_closest_marker("rung_check")
        wanted = mark.args[0] if mark and mark.args else "other"
        kind: CheckKind = wanted if wanted in _KINDS else "other"
        named = {key: str(mark.kwargs.get(key, "")) if mark else "" for key in ("pipeline", "step")}
        outcome: CheckOutcome = (
            "skipped" if report.skipped else "passed" if report.passed else "failed" if report.when == "call" else "error"
        )
        message = "" if outcome == "passed" else self._message(report)
        self._checks[item.nodeid] = TestCheck(
            name=item.nodeid[-500:], kind=kind, outcome=outcome, duration_s=max(0.0, report.duration),
            message=message[:_LONGEST], **named,
        )  # fmt: skip

    @staticmethod
    def _message(report: Any) -> str:
        if isinstance(report.longrepr, tuple):  # of a skipped test: file, line, reason
            return str(report.longrepr[2])
        crash = getattr(report.longrepr, "reprcrash", None)
        return str(crash.message) if crash is not None else str(report.longrepr or "")

    def pytest_sessionfinish(self, session: Any, exitstatus: int) -> None:
        """Write the file."""
        told = {"checks": list(self._checks.values()), "wall_s": time.perf_counter() - self._began}
        self._file.write_bytes(msgspec.json.encode(told))


def pytest_addoption(parser: Any) -> None:
    """Take ``--rung-report``."""
    parser.addoption("--rung-report", metavar="FILE", help="where `rung test` reads what each test proved")


def pytest_configure(config: Any) -> None:
    """Make the mark known, and begin to record."""
    config.addinivalue_line("markers", "rung_check(kind, pipeline, step): what a test proves of a pipeline or one of its steps")
    if file := config.getoption("--rung-report"):
        config.pluginmanager.register(Recorder(Path(file)), "rung-recorder")
