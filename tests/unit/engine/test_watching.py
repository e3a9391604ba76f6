"""What the terminal is told of a run's steps, with and without a terminal."""

from __future__ import annotations

import io

import pytest
from click import unstyle
from click.testing import CliRunner

from rung.cli.run import command
from rung.cli.watching import Watch
from rung.pipelines.records import StepRun, StepStatus


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def _step(key: str, status: StepStatus, **fields: object) -> StepRun:
    return StepRun(id="0" * 32, pipeline_run="1" * 32, key=key, step=key, position=0, status=status, **fields)  # type: ignore[arg-type]


def test_a_log_file_gets_a_line_for_each_step_that_has_ended() -> None:
    stream = io.StringIO()
    watch = Watch(stream)
    watch(_step("load", "running", attempts=1))
    watch(_step("load", "succeeded", attempts=1, wall_s=1.5))
    watch(_step("fit", "waiting", attempts=1, error="no"))
    watch(_step("fit", "failed", attempts=2, wall_s=2))
    watch(_step("skip", "skipped", reason="Skipped: step 'fit' has no result."))
    watch(_step("wide", "succeeded", attempts=3, items=10, items_done=10, items_cached=4))
    watch.close()
    lines = [" ".join(line.split()) for line in unstyle(stream.getvalue()).splitlines()]
    assert lines == [
        "✓ load 1.50 s",
        "↻ fit 0.00 s tries again",
        "✗ fit 2.00 s (2 attempts)",
        "· skip skipped step 'fit' has no result.",
        "✓ wide 0.00 s 10 of 10 items, 4 cached",
    ]
    assert "\x1b[" not in stream.getvalue().replace("\x1b[3", "").replace("\x1b[0", "").replace("\x1b[9", "")


def test_a_terminal_sees_what_is_under_way_painted_again_in_place() -> None:
    stream = Terminal()
    watch = Watch(stream)
    watch(_step("load", "running", attempts=1))
    watch(_step("wide", "running", attempts=1, items=10, items_done=5))
    assert unstyle(stream.getvalue()).endswith(f"  … {'load':<32} running\n  … {'wide':<32} [##########..........] 5/10\n")
    watch(_step("load", "succeeded", attempts=1))
    assert "\x1b[2A\x1b[J" in stream.getvalue()
    assert "wide" in unstyle(stream.getvalue()).splitlines()[-1]
    watch.close()
    assert stream.getvalue().endswith("\x1b[1A\x1b[J")


@pytest.mark.parametrize("arguments", [[], ["train", "--resume", "train:1"], ["train", "--rerun", "train:1"]])
def test_what_contradicts_itself_is_a_wrong_use(arguments: list[str]) -> None:
    assert CliRunner().invoke(command, arguments).exit_code == 2
