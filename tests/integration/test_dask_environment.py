"""Workers of Dask are set up without setting anything up in the process that starts them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rung.core.settings import Settings
from rung.engine.executors.dask import Dask
from rung.storage.blobs import open_blobs

pytest.importorskip("distributed")


@pytest.mark.filterwarnings("ignore")  # Dask's own when it starts
def test_starting_workers_of_dask_leaves_the_variables_of_this_process_alone(tmp_path: Path) -> None:
    before = dict(os.environ)
    executor = Dask(open_blobs(f"file://{tmp_path}"), 1, Settings())
    try:
        executor._connect()
        assert dict(os.environ) == before
    finally:
        executor.close()
