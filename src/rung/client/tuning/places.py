"""Where the folders of sweeps lie on this machine, and how to find one to go on with."""

from __future__ import annotations

from pathlib import Path

from rung.client.client import Client
from rung.client.places import place_of
from rung.client.tuning.folder import FOLDER, Folder
from rung.core.errors import NotFound


def root_of(client: Client | None) -> Path:
    """The folder of the sweeps that this machine tunes for a platform."""
    return place_of(client.transport if client else None).root / FOLDER


def folder_of(client: Client | None, sweep: str) -> Folder:
    """The folder of a sweep, by the id of its run."""
    return Folder(root_of(client) / sweep)


def start_of(client: Client | None, sweep: str) -> Folder:
    """The folder of a sweep to go on with, by the id of its run or as ``experiment:12``. Raises NotFound."""
    folder = folder_of(client, sweep)
    if "/" not in sweep and folder.path.is_dir():
        return folder
    if client is not None:
        folder = folder_of(client, client.tracking.get(sweep).id)
    if not folder.path.is_dir():
        raise NotFound(
            f"The sweep {sweep} was not tuned from this machine and home: there is no {folder.path}.", code="tuning.no_folder",
            hint="Go on with it where it began, or copy that folder here.",
        )  # fmt: skip
    return folder


def latest(client: Client | None, experiment: str, name: str) -> Folder | None:
    """The folder of the last sweep of an experiment with this name; None when there is none."""
    root = root_of(client)
    # Ids begin with the instant they were made at.
    for path in sorted(root.iterdir(), reverse=True) if root.is_dir() else ():
        try:
            plan = Folder(path).plan()
        except NotFound:
            continue  # its tuner was killed before the plan was whole
        if (plan.experiment, plan.name) == (experiment, name):
            return Folder(path)
    return None
