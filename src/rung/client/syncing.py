"""``rung sync``: sends what lies in a spool, run by run, and says of each how that went."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from rung.client.places import Place
from rung.client.sending import Dispatch
from rung.client.spool import Note, RunFolder, run_folders
from rung.client.transports import Transport
from rung.core.errors import RungError
from rung.core.records import Record


class Synced(Record):
    """What became of one run's part of the spool."""

    run: str
    name: str
    outcome: Literal["sent", "failed", "busy", "elsewhere", "waiting"]
    points: int = 0
    requests: int = 0
    left: int = 0
    message: str = ""


def sync(root: Path, transport: Transport, place: Place, *, dry: bool = False) -> Iterator[Synced]:
    """Send every run of a spool that belongs to a platform. One run's failure does not keep the others."""
    for folder in run_folders(root):
        note = folder.note()
        label = ":".join(part for part in (note.experiment, note.name) if part)
        if note.platform and (note.platform, note.project) != (place.platform, place.project):
            where = f"{note.platform} {note.project}".strip()
            yield Synced(run=note.run, name=label, outcome="elsewhere", left=len(folder.journals()), message=f"It belongs to {where}.")
        elif dry:
            yield Synced(run=note.run, name=label, outcome="waiting", left=len(folder.journals()))
        else:
            yield send_folder(folder, note, label, transport)


def send_folder(folder: RunFolder, note: Note, label: str, transport: Transport) -> Synced:
    """Send one run's part."""
    if not folder.lock():
        return Synced(run=note.run, name=label, outcome="busy", message="A living process sends it.")
    dispatch, problem = Dispatch(folder, transport), ""
    try:
        while dispatch.send_one():
            pass
        folder.remove_if_done()
    except RungError as error:
        problem = str(error)
    finally:
        dispatch.close()
        folder.unlock()
    left = len(folder.journals())
    outcome: Literal["sent", "failed", "busy"] = "failed" if problem else "busy" if left else "sent"
    message = problem or ("It is still being logged to." if left else "")
    return Synced(run=note.run, name=label, outcome=outcome, points=dispatch.points, requests=dispatch.requests, left=left, message=message)


def send_leftovers(transport: Transport, place: Place) -> None:
    """Send what crashed processes left; offline runs wait for ``rung sync``."""
    for folder in run_folders(place.root):
        note = folder.note()
        if note.offline or (note.platform, note.project) != (place.platform, place.project):
            continue
        done = send_folder(folder, note, note.name, transport)
        if done.outcome == "failed":
            sys.stderr.write(f"rung: run {note.run} of the spool {place.root} could not be sent: {done.message}\n")
