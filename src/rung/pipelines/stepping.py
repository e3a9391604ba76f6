"""The request of another scheduler: execute one step of a run, whose steps it asks for one after the other."""

from __future__ import annotations

from rung.core.records import Count, Key, Line, Name
from rung.core.requests import Request
from rung.pipelines.records import Params, PipelineRun, Seed


class RunStep(Request[PipelineRun]):
    """Queue one step of the run of this ``key``, which is made when it is first named; steps that have ended stay as they are.

    ``attempts`` is how many the caller has seen: a step that has been tried since is left alone. Only one step of a run is
    executed at a time; while another one is, nothing is queued, and the caller asks again.
    """

    operation = "pipelines.run_step"
    permission = "pipeline:run"
    pipeline: Name
    step: Key
    key: Key
    params: Params = {}
    seed: Seed = 0
    attempts: Count | None = None
    scheduler: Line = ""
    held: Line | None = None
