"""Model formats that bring code of their own: where that code may run, and where it must not.

It runs in a confined process started for one model, and in the process of whoever made the model; never in a server that
others share. A server takes and serves such versions only with the setting ``registry.allow_code``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from rung.core.errors import Denied

ISOLATED = "RUNG_ISOLATED"  # set in the process of one model
REASON = "It brings code of its own, and runs in a confined process of its own."
_at_home: ContextVar[bool] = ContextVar("at_home", default=False)


@contextlib.contextmanager
def at_home() -> Iterator[None]:
    """Let code of models run here: the process of whoever wrote it."""
    token = _at_home.set(True)
    try:
        yield
    finally:
        _at_home.reset(token)


def check_here(what: str) -> None:
    """Raise Denied where code of models must not run."""
    if not (_at_home.get() or os.environ.get(ISOLATED)):
        raise Denied(
            f"A model of the format {what!r} brings code of its own, which does not run in a server's process.", code="registry.own_code",
            hint="Deploy it: it is served from a process of its own. Evaluate it with `client.serving.predict` on a deployment.",
        )  # fmt: skip


def check_allowed(format: str, *, allowed: bool) -> None:
    """Raise Denied where models with code of their own are not taken."""
    if not allowed:
        raise Denied(
            f"A model of the format {format!r} brings code of its own.", code="registry.own_code",
            hint="Allow that with registry.allow_code; its code runs in a confined process of its own.",
        )  # fmt: skip


def brings_code(kind: Any) -> bool:
    """Whether a format's models bring code of their own."""
    return bool(getattr(kind, "isolated", False))
