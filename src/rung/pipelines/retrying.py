"""Retrying: which failures are tried again, and after how long. Pure, for every engine."""

from __future__ import annotations

from rung.pipelines.records import AttemptStatus, StepOptions

# What has no exception of its own counts as one of Python's: too long as TimeoutError, a process that is gone as ChildProcessError.
_STANDS_FOR: dict[str, tuple[str, ...]] = {
    "timed_out": ("builtins.TimeoutError", "builtins.OSError", "builtins.Exception", "builtins.BaseException"),
    "lost": ("builtins.ChildProcessError", "builtins.OSError", "builtins.Exception", "builtins.BaseException"),
}


def is_retried(options: StepOptions, status: AttemptStatus, error_types: tuple[str, ...], failures: int) -> bool:
    """Whether an attempt that ended like this is followed by another.

    Args:
        error_types: dotted names of what was raised and of its base classes.
        failures: how many attempts have failed, this one included.

    >>> is_retried(StepOptions(retries=1, retry_on=("ConnectionError",)), "failed", ("builtins.ConnectionError",), 1)
    True
    """
    if status not in {"failed", "timed_out", "lost"} or failures > options.retries:
        return False
    if not options.retry_on:
        return True
    names = error_types or _STANDS_FOR.get(status, ())
    return any(name in options.retry_on or name.rpartition(".")[2] in options.retry_on for name in names)


def pause_s(options: StepOptions, failures: int, chance: float) -> float:
    """Seconds until the next attempt after so many failures; ``chance`` is a number from 0 to 1.

    >>> [pause_s(StepOptions(backoff_s=1, backoff_most_s=5), n, 0.0) for n in (1, 2, 3, 4)]
    [1.0, 2.0, 4.0, 5.0]
    """
    if options.backoff_s == 0:
        return 0.0
    growth = min(options.backoff_factor ** min(failures - 1, 60), options.backoff_most_s / options.backoff_s)
    return float(min(options.backoff_most_s, options.backoff_s * growth) * (1.0 + options.jitter * chance))
