"""Decisions of pipelines: what a cache key is made of, when the cache is asked, how alike two outputs are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rung.core.digests import digest_of_value
from rung.pipelines.reproducing import Likeness, OutputComparison

KEY_PARTS = ("code", "params", "inputs", "environment", "seed", "salt", "files", "variables")


def cache_key(step: str, parts: Mapping[str, Any]) -> str:
    """The key of a step's outputs: over its name and every part that could make them others."""
    return digest_of_value([step, [parts.get(name) or None for name in KEY_PARTS]])


def why_not_cached(*, declared: bool, wished: bool, unsure: tuple[str, ...]) -> str:
    """Why the cache is not asked for a step; empty when it is."""
    if not declared:
        return "Ran: the step is declared cache=False."
    if not wished:
        return "Ran: the run was started without the cache."
    return f"Ran: it cannot be told whether {', '.join(unsure)} changed."[:1000] if unsure else ""


_ORDER: tuple[Likeness, ...] = ("identical", "equivalent", "different")


def least_alike(comparisons: tuple[OutputComparison, ...]) -> Likeness:
    """The verdict over all outputs: that of the least alike."""
    return max((c.likeness for c in comparisons), key=_ORDER.index, default="identical")


def first_diverging(comparisons: tuple[OutputComparison, ...]) -> str:
    """The first step, in the order of the plan, with an output that is not identical; empty when all are."""
    return next((c.step for c in comparisons if c.likeness != "identical"), "")
