"""A command as an objective: one process a trial, params in its line, the metric from what it logs or prints."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO, Any

from rung.client.current import RUN_VARIABLE
from rung.client.outbox import PATIENCE_S
from rung.client.tuning.folder import locks_held
from rung.client.tuning.processes import environment_for
from rung.client.tuning.trial import Pruned, Trial
from rung.core.errors import Conflict, Invalid, RungError

OUTPUT = "logs/output.txt"
_LARGEST = 8 << 20
_LOOK_S = 1.0
_PATIENCE_S = 10.0
_LAST_LINES = 20
_MOST_STEPS = 10_000
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)"
_STEP = re.compile(r"\b(?:step|epoch|iteration|iter)\b[\s:=]*(\d+)", re.I)


class Command:
    """Runs a command line for each trial.

    ``{name}`` in it stands for the param of that name, ``{trial}`` for the trial's number, ``{seed}`` for its seed. When no param
    is named anywhere, ``--name=value`` is appended for each.
    """

    def __init__(self, words: Sequence[str], metrics: Sequence[str]) -> None:
        if not words:
            raise Invalid("There is no command.", code="tuning.bad_objective", hint="Write it behind --: rung tune … -- python train.py.")
        self.words = tuple(words)
        self.metrics = tuple(metrics)
        self._patterns = {
            name: re.compile(rf"(?<![\w./-]){re.escape(name)}[\"']?\s*[:=]\s*({_NUMBER})(?![\w.])", re.I) for name in self.metrics
        }

    def line(self, trial: Trial) -> list[str]:
        """The command of one trial."""
        texts = {name: _text(value) for name, value in trial.params.items()}
        if not any(f"{{{name}}}" in word for word in self.words for name in texts):
            return [*self._filled(trial, {}), *[f"--{name}={text}" for name, text in texts.items()]]
        return self._filled(trial, texts)

    def __call__(self, trial: Trial) -> None:
        """Run it, and look at the metric while it goes on."""
        line = self.line(trial)
        environment = environment_for(None if trial.run.offline else trial.run.client, 1)
        if not trial.run.offline:
            environment[RUN_VARIABLE] = environment["MLFLOW_RUN_ID"] = trial.run.id
        try:
            process = subprocess.Popen(
                line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, start_new_session=True,
                pass_fds=locks_held(),
            )  # fmt: skip
        except OSError as error:
            raise Conflict(f"{line[0]} cannot be started: {error.strerror}.", code="tuning.no_command", hint="Check the command.") from None
        output = _Output(process.stdout, self, trial)
        try:
            self._watch(process, trial, output)
        finally:
            _end(process)
            output.close()
            self._keep(trial, output)
        if process.returncode:
            last = output.tail()
            why = f": {last[-1].strip()}" if last else "."
            raise Conflict(f"The command ended with {_ended(process.returncode)}{why}\n\n" + "\n".join(last), code="tuning.command_failed")
        self._look(trial, PATIENCE_S)  # nobody looks again

    def heard(self, text: str, trial: Trial, lines: int) -> None:
        """Take note of a line that the command printed, if it tells a metric."""
        for name, pattern in self._patterns.items():
            found = pattern.findall(text)
            if found:
                step = _STEP.search(text)
                trial.run.log_metric(name, float(found[-1]), int(step[1]) if step else lines)

    def _watch(self, process: subprocess.Popen[bytes], trial: Trial, output: _Output) -> None:
        while True:
            try:
                process.wait(_LOOK_S)
            except subprocess.TimeoutExpired:
                self._look(trial)
                if trial.should_prune():
                    raise Pruned(f"at step {max(step for _, step in trial.last.values())}") from None
            else:
                return
            if output.problem is not None:
                raise output.problem

    def _look(self, trial: Trial, patience_s: float = 2.0) -> None:
        """Take over what the command itself has logged to the trial's run."""
        if trial.run.offline:
            return
        try:
            trial.run.flush(patience_s)
            tracking = trial.run.client.tracking
            latest = tracking.get(trial.run.id, points=True).latest
            for name in self.metrics:
                known, point = trial.last.get(name), latest.get(name)
                if point is None or known == (point.value, point.step):
                    continue
                # Every step since: a pruner compares trials at the same one.
                since = tracking.history(trial.run.id, name, limit=_MOST_STEPS, first=None if known is None else known[1])
                for item in since.points:
                    trial.hear(name, item.value, item.step)
                trial.hear(name, point.value, point.step)
        except RungError:
            return  # away for a moment

    def _keep(self, trial: Trial, output: _Output) -> None:
        try:
            trial.run.log_artifact(output.content(), OUTPUT)
        except RungError as error:
            sys.stderr.write(f"rung: the output of trial {trial.number} was not kept: {error}\n")

    def _filled(self, trial: Trial, texts: dict[str, str]) -> list[str]:
        known = {**texts, "trial": str(trial.number), "seed": str(trial.seed)}
        return [re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], found[0]), word) for word in self.words]


class _Output:
    """Reads what a command prints: each line is looked at, the whole is kept up to a bound."""

    def __init__(self, stream: IO[bytes] | None, command: Command, trial: Trial) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self.problem: BaseException | None = None
        self._stream = stream
        self._thread = threading.Thread(target=self._read, args=(command, trial), name="rung-command", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the last line."""
        self._thread.join(_PATIENCE_S)

    def content(self) -> bytes:
        """What was printed."""
        return b"".join(self._parts) or b"\n"

    def tail(self) -> list[str]:
        """The last lines that are not empty."""
        lines = self.content().decode("utf-8", "replace").splitlines()
        return [line for line in lines if line.strip()][-_LAST_LINES:]

    def _read(self, command: Command, trial: Trial) -> None:
        for lines, line in enumerate(self._stream or ()):
            if self._size < _LARGEST:
                self._parts.append(line)
                self._size += len(line)
            try:
                command.heard(line.decode("utf-8", "replace"), trial, lines)
            except BaseException as problem:  # raised by _watch, in the thread of the trial
                self.problem = self.problem or problem


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that goes on, with all it has started: asked first."""
    if process.poll() is not None:
        return
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(_PATIENCE_S)
            return
        except ProcessLookupError:
            process.wait()
            return
        except subprocess.TimeoutExpired:
            time.sleep(0)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def _ended(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
