"""Values of the secrets that a step may ask for, so that its log does not show them."""

from __future__ import annotations

import os

from msgspec.structs import replace

from rung.engine.executors.family import Outcome, Task
from rung.pipelines.secrets import PREFIX, Mask, forms


def values_of(task: Task) -> tuple[str, ...]:
    """What a log must not show of a task's secrets: their values as they are, line by line, and as they are written in addresses."""
    return tuple(form for name in task.secrets for form in forms(_value(task, name)))


def with_secrets(task: Task) -> Task:
    """The task with the values of its secrets in its own environment, for a process that does not share this one's."""
    values = {name: value for name in task.secrets if (value := _value(task, name))}
    return replace(task, environ={**{PREFIX + name: value for name, value in values.items()}, **task.environ}) if values else task


def without_secrets(outcome: Outcome, task: Task) -> Outcome:
    """The outcome, its errors free of the task's secrets."""
    mask = Mask(_value(task, name) for name in task.secrets)
    items = tuple(replace(item, error=mask(item.error)) if item.error else item for item in outcome.items)
    return replace(outcome, error=mask(outcome.error), items=items)


def _value(task: Task, name: str) -> str:
    return task.context.secret_values.get(name) or task.environ.get(PREFIX + name) or os.environ.get(PREFIX + name, "")
