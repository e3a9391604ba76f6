"""Executors: where a step runs. ``inline`` in a thread here, ``process`` in a fresh interpreter; one file each."""

from rung.engine.executors.family import EXECUTORS, Executor, Outcome, Task

__all__ = ["EXECUTORS", "Executor", "Outcome", "Task"]
