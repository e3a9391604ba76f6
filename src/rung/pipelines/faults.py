"""Where in a project's own code an error arose."""

from __future__ import annotations

from pathlib import Path


def line_of(error: BaseException, folder: Path) -> str:
    """`` (pipelines.py, line 7)`` for the innermost line of a folder that an error went through; empty when it went through none."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if folder in file.parents:
            place = f" ({file.relative_to(folder)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place
