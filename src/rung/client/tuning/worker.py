"""A worker's process: ``python -m rung.client.tuning.worker LINE LIFE``, both descriptors it inherits from the tuner."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from rung.client.client import Client
from rung.client.current import current_client
from rung.client.tuning import records as r
from rung.client.tuning.execution import execute
from rung.client.tuning.folder import Folder
from rung.client.tuning.objectives import Objective, unpacked
from rung.client.tuning.processes import PICKLED
from rung.client.tuning.space import Space
from rung.core.errors import RungError

_GRACE_S = 8.0


class Line:
    """The tuner, as a trial in this process knows it."""

    def __init__(self, line: Connection) -> None:
        self._line = line

    def send(self, message: r.FromWorker) -> None:
        """Tell the tuner something."""
        self._line.send_bytes(msgspec.msgpack.encode(message))

    def receive(self) -> r.ToWorker:
        """What the tuner says next."""
        message: r.ToWorker = msgspec.msgpack.decode(self._line.recv_bytes(), type=r.ToWorker)
        return message

    def report(self, number: int, value: float, step: int) -> None:
        """Pass an intermediate value on."""
        self.send(r.Reported(number=number, value=value, step=step))

    def should_prune(self, number: int) -> bool:
        """The tuner's answer."""
        self.send(r.Question(number=number))
        answer = self.receive()
        return isinstance(answer, r.Verdict) and answer.prune


def main() -> int:
    """Take trials until the tuner says to leave, or is gone."""
    line = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with_tuner, args=(int(sys.argv[2]),), name="rung-life", daemon=True).start()
    try:
        task = msgspec.msgpack.decode(line.recv_bytes(), type=r.Task)
        tuner = Line(line)
        try:
            objective, space, client = _prepared(task)
        except RungError as error:
            tuner.send(r.Broken(error=str(error)))
            return 1
        except Exception as error:  # whatever unpickling or a user's module raises is told to the tuner
            tuner.send(r.Broken(error=f"{type(error).__name__}: {error}"))
            return 1
        tuner.send(r.Ready())
        while isinstance(message := tuner.receive(), r.Begin):
            folder = Folder(Path(task.folder))
            outcome = execute(message.asked, task.plan, space, objective, tuner, client=client, folder=folder, worker=task.worker)
            tuner.send(r.Done(outcome=outcome))
    except (EOFError, BrokenPipeError, ConnectionError):
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _prepared(task: r.Task) -> tuple[Objective, Space, Client | None]:
    sys.path[:] = [*task.path, *[part for part in sys.path if part not in task.path]]
    objective, space = unpacked((Path(task.folder) / PICKLED).read_bytes())
    return objective, space, None if task.plan.offline else current_client()


def _end_with_tuner(life: int) -> None:
    """End this process when the tuner's end of the pipe closes: first asked, so that the run is closed, then at once."""
    while os.read(life, 1):
        pass
    time.sleep(0.2)  # a worker that was told to leave is gone by itself
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
