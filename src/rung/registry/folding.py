"""Shortening a program: what is affine before an affine body becomes part of it, and what only picks columns part of a forest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rung.registry import program as p
from rung.stats.ensembles import COLUMN_MASK, REFUSE_INFINITE, REFUSE_NAN, Affine, Forest

Floats = NDArray[np.float64]
Steps = list[p.Step]


def shortened(steps: Steps, model: Forest | Affine, given: int) -> tuple[Steps, Forest | Affine]:
    """Fewer steps and a body that answer alike over a matrix of ``given`` columns."""
    steps = [step for step in steps if not _nothing(step)]
    if isinstance(model, Affine):
        kept, weights, base, checks = _folded(steps, model.weights, model.base, model.checks)
        return _without_identity(kept, given), replace(model, weights=np.ascontiguousarray(weights), base=base, checks=checks)
    if all(isinstance(step, (p.Pick, p.Shift)) or _only_infinite(step) for step in steps) and any(isinstance(s, p.Refuse) for s in steps):
        steps = [step for step in steps if not isinstance(step, p.Refuse)]
        model = replace(model, checks=model.checks | REFUSE_INFINITE)
    steps = _without_identity(steps, given)
    if len(steps) == 1 and isinstance(steps[0], p.Pick) and (not model.checks or len(set(steps[0].columns.tolist())) == given):
        return [], _asking(model, steps[0].columns, given)
    return steps, model


def _nothing(step: p.Step) -> bool:
    return isinstance(step, p.Refuse) and not step.nan and not step.infinite


def _only_infinite(step: p.Step) -> bool:
    return isinstance(step, p.Refuse) and not step.nan


def _without_identity(steps: Steps, given: int) -> Steps:
    while steps and isinstance(steps[0], p.Pick) and steps[0].columns.tolist() == list(range(given)):
        steps = steps[1:]
    return steps


def _asking(model: Forest, columns: NDArray[np.int64], given: int) -> Forest:
    """A forest over other columns: nodes ask for the picked ones, leaves for the column after the last."""
    nodes = model.nodes.copy()
    old = nodes["word"] & COLUMN_MASK
    places = np.append(columns, given).astype(np.uint32)
    nodes["word"] = (nodes["word"] & ~np.uint32(COLUMN_MASK)) | places[old]
    return replace(model, nodes=nodes, features=given)


def _folded(steps: Steps, weights: Floats, base: Floats, checks: int) -> tuple[Steps, Floats, Floats, int]:
    """As many steps from the end as are affine, taken into the weights, shape (outputs, columns)."""
    steps = list(steps)
    while steps:
        step = steps[-1]
        if isinstance(step, p.Refuse):
            checks |= (REFUSE_NAN if step.nan else 0) | (REFUSE_INFINITE if step.infinite else 0)
        elif isinstance(step, p.Shift):
            weights, base = _shifted(step, weights, base)
        elif isinstance(step, p.Product):
            weights = weights @ step.weights.T
        elif isinstance(step, p.Join):
            joined, weights, base, checks = _folded_join(step, weights, base, checks)
            return [*steps[:-1], joined], weights, base, checks
        else:
            break
        steps.pop()
    return steps, weights, base, checks


def _shifted(step: p.Shift, weights: Floats, base: Floats) -> tuple[Floats, Floats]:
    if step.by == "add":
        return weights, base + weights @ step.values
    if step.by == "subtract":
        return weights, base - weights @ step.values
    return (weights * step.values if step.by == "multiply" else weights / step.values), base


def _folded_join(step: p.Join, weights: Floats, base: Floats, checks: int) -> tuple[p.Step, Floats, Floats, int]:
    """Each chain's affine end taken into its own columns of the weights; chains that only pick become one."""
    parts, pieces, start = [], [], 0
    for part in step.parts:
        width = _width(part)
        if width is None:
            return step, weights, base, checks
        kept, piece, base, checks = _folded(part, weights[:, start : start + width], base, checks)
        parts.append(kept)
        pieces.append(piece)
        start += width
    weights = np.concatenate(pieces, axis=1)
    if all(len(part) == 1 and isinstance(part[0], p.Pick) for part in parts):
        return p.Pick(np.concatenate([part[0].columns for part in parts if isinstance(part[0], p.Pick)])), weights, base, checks
    return p.Join(parts), weights, base, checks


def _width(part: Steps) -> int | None:
    """Columns a chain gives that begins with a Pick; None for one that begins otherwise."""
    if not part or not isinstance(part[0], p.Pick):
        return None
    width = len(part[0].columns)
    for step in part[1:]:
        width = step.width(width)
    return width
