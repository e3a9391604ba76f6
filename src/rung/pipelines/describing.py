"""What a pipeline tells of itself, and parameters as they come from outside turned into what its function expects."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rung.core.errors import RungError
from rung.pipelines import parameters
from rung.pipelines.authoring import Pipeline
from rung.pipelines.parameters import dataset_ref
from rung.pipelines.records import PipelineInfo, StepSpec
from rung.pipelines.tracing import trace

__all__ = ["dataset_ref", "described", "typed_params"]


def described(pipeline: Pipeline[..., Any], *, code: str, now: datetime) -> PipelineInfo:
    """The pipeline's parameters and rules, and its plan where every parameter has a default."""
    specs = parameters.param_specs(pipeline.function)
    steps: tuple[StepSpec, ...] = ()
    if not any(spec.required for spec in specs):
        # A plan that cannot be traced is reported when the pipeline is run; the list of pipelines still shows it.
        with contextlib.suppress(RungError):
            steps = trace(pipeline, {}).specs()
    return PipelineInfo(
        name=pipeline.name, target=pipeline.target, doc=inspect.cleandoc(pipeline.function.__doc__ or ""), params=specs, steps=steps,
        code=code, seen_at=now, on_failure=pipeline.on_failure, concurrency_group=pipeline.concurrency_group,
        concurrency_limit=pipeline.concurrency_limit, priority=pipeline.priority,
    )  # fmt: skip


def typed_params(pipeline: Pipeline[..., Any], given: Mapping[str, Any], *, complete: bool = True) -> dict[str, Any]:
    """Plain values as the types of the pipeline's parameters. Raises Invalid for unknown, missing and wrong ones."""
    return parameters.typed_params(pipeline.name, pipeline.function, given, complete=complete)
