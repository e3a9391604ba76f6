"""A run that is watched can be interrupted whatever the terminal is doing."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any

import pytest

from rung.cli.watching import interruptible


def test_ctrl_c_in_the_midst_of_a_line_says_so_and_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()

    class Interrupted(io.FileIO):
        """A terminal that takes its time, in which Ctrl-C comes."""

        def write(self, data: Any) -> int:
            if b"running" in bytes(data):
                signal.raise_signal(signal.SIGINT)
            return super().write(data)

    stream = io.TextIOWrapper(io.BufferedWriter(Interrupted(writing, "w")), line_buffering=True)
    monkeypatch.setattr(sys, "stderr", stream)
    asked: list[bool] = []

    def cancel() -> bool:
        asked.append(True)
        return True

    with interruptible(cancel) as interrupted:
        stream.write("a step is running\n")
        assert interrupted()
    assert asked == [True]
    monkeypatch.undo()
    stream.close()
    assert os.read(reading, 1000) == b"a step is running\n"
    os.close(reading)
    assert "Stopping: " in capfd.readouterr().err
