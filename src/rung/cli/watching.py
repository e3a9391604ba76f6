"""Watching a run from the terminal: a line a step that has ended, and below them what is under way."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

_MARKS = {
    "succeeded": ("✓", "green"),
    "cached": ("=", "cyan"),
    "failed": ("✗", "red"),
    "cancelled": ("-", "yellow"),
    "skipped": ("·", "bright_black"),
    "waiting": ("↻", "yellow"),
}
_LINES = 8
EXIT_INTERRUPTED = 130
_STDERR = 2


class Watch:
    """Tells of each step's changes. On a terminal the lines of running steps are painted again in place."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._running: dict[str, Any] = {}
        self._painted = 0

    def __call__(self, step: Any) -> None:
        """Tell of a change."""
        if step.status in {"running", "waiting"}:
            tried_again = step.status == "waiting" and step.error
            if tried_again and self._running.get(step.key) is None and not self._live:
                self._say(_line(step))
            self._running[step.key] = step
        else:
            self._running.pop(step.key, None)
            self._wipe()
            self._say(_line(step))
        if self._live:
            self._wipe()
            self._paint()

    def close(self) -> None:
        """Take the lines of running steps away."""
        self._wipe()

    def _paint(self) -> None:
        under_way = [step for step in self._running.values() if step.status == "running" or step.error]
        for step in under_way[:_LINES]:
            self._say(click.style(f"  … {step.key:<32} {_progress(step)}", dim=True))
        if len(under_way) > _LINES:
            self._say(click.style(f"  … and {len(under_way) - _LINES} more", dim=True))
        self._painted = min(len(under_way), _LINES) + (len(under_way) > _LINES)

    def _wipe(self) -> None:
        if self._painted:
            self._stream.write(f"\x1b[{self._painted}A\x1b[J")
            self._painted = 0

    def _say(self, line: str) -> None:
        click.echo(line, file=self._stream)


def _line(step: Any) -> str:
    mark, colour = _MARKS.get(step.status, ("·", "white"))
    cost = "   cached" if step.status == "cached" else "  skipped" if step.status == "skipped" else f"{step.wall_s:8.2f} s"
    told = [cost]
    if step.items:
        counts = ((step.items_cached, "cached"), (step.items_failed, "failed"))
        told.append(", ".join([f"{step.items_done} of {step.items} items", *(f"{count} {word}" for count, word in counts if count)]))
    if step.attempts > 1 and not step.items:
        told.append(f"({step.attempts} attempts)")
    if step.status == "skipped":
        told.append(step.reason.removeprefix("Skipped: "))
    if step.status == "waiting":
        told.append("tries again")
    return "  " + click.style(mark, fg=colour) + f" {step.key:<32} " + "  ".join(told)


def _progress(step: Any) -> str:
    if step.items:
        filled = int(20 * step.items_done / step.items)
        return f"[{'#' * filled}{'.' * (20 - filled)}] {step.items_done}/{step.items}"
    return "waits to try again" if step.status == "waiting" else "running" if step.attempts < 2 else f"running, attempt {step.attempts}"  # noqa: PLR2004


@contextmanager
def interruptible(cancel: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C or SIGTERM ask for an end, and the second one end at once. Answers whether one came."""
    asked: list[int] = []

    def interrupt(number: int, _: object) -> None:
        if asked or not cancel():
            os._exit(EXIT_INTERRUPTED)
        asked.append(number)
        _say_at_once("\nStopping: steps that can be stopped are ended. Again to leave at once.\n")

    held = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, before in held.items():
            signal.signal(number, before)


def _say_at_once(text: str) -> None:
    """Write to standard error past its buffer: who was interrupted may be in the midst of writing to that, and it lets nobody else in.

    By its number, for while an inline step runs ``sys.stderr`` is what tells the steps' words apart.
    """
    with suppress(OSError):  # closed
        os.write(_STDERR, (click.style(text, fg="yellow") if os.isatty(_STDERR) else text).encode())


def leave() -> None:
    """End the process although a step's thread goes on: nothing else can end it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_INTERRUPTED)
