"""``rung.context`` and ``rung.secret``: what a running step asks of itself; outside of a run they work in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rung.core.settings import load_settings
from rung.pipelines.context import StepContext, current_step
from rung.pipelines.secrets import secret_value


def context() -> StepContext:
    """The context of the step that runs here: its log, progress, seed, attempt, parameters, checkpoints and secrets.

    Outside of a run, as in a test of the step's function, it is a fresh one that keeps everything in memory.
    """
    found = current_step.get()
    if found is None:
        return StepContext()
    if found.transport is not None or found.connect is not None or not found.pipeline_run:
        return found
    known = replace(found, connect=_transport)
    current_step.set(known)  # the same one for the rest of the step, with its checkpoints and its clock of progress
    return known


def secret(name: str) -> str:
    """A secret by its name in rung.toml. In a step it must be declared: ``@step(secrets=["db"])``.

    Raises:
        Invalid: the step did not declare it. NotFound: it is missing.
    """
    found = current_step.get()
    return secret_value(name, load_settings()) if found is None else found.secret(name)


def _transport() -> Any:
    from rung.client.current import current_client  # noqa: PLC0415 - a step that only logs never loads the client

    return current_client().transport
