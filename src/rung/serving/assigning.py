"""Which arm answers a key: a hash of the key in ranges of millionths, so that a key always goes the same way.

Ranges are kept with each revision: an arm whose share grows keeps what it had and takes the rest from the stable one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np

MILLION = 1_000_000
STABLE, HOLDOUT, SHADOW = "stable", "holdout", "shadow"
Range = tuple[int, int]
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def seed_of(text: str) -> int:
    """An odd multiplier that a text stands for: other texts assign the same keys independently."""
    h = crc32(text.encode())
    for _ in range(3):
        h = ((h ^ (h >> 31)) * _GOLDEN + 0xD1B54A32D192ED03) & _MASK
    return h | 1


def point(key: str, seed: int) -> int:
    """Where a key lies, in millionths: uniform over keys, the same in every process.

    CRC-32 of the key, then multiply-shift (Dietzfelbinger et al., A reliable randomized algorithm for the closest-pair
    problem, 1997) with the seed's multiplier.
    """
    return ((crc32(_bytes(key)) * seed) & _MASK) * MILLION >> 64


def laid_out(shares: Mapping[str, float], before: Mapping[str, Sequence[Range]] | None = None) -> dict[str, tuple[Range, ...]]:
    """Disjoint ranges of millionths for every arm but the stable one, which has what is left.

    An arm that grows keeps every key it had, and one that shrinks takes no new key, as long as all others only take what
    is free.

    Args:
        shares: share of each arm; the stable arm's is not looked at. Their sum is at most 1.
        before: ranges of the arms before the change.

    >>> laid_out({"canary": 0.1})
    {'canary': ((0, 100000),)}
    >>> laid_out({"canary": 0.3, "arm-1": 0.1}, {"canary": ((0, 100000),), "arm-1": ((100000, 200000),)})
    {'canary': ((0, 100000), (200000, 400000)), 'arm-1': ((100000, 200000),)}
    """
    wanted = {arm: round(share * MILLION) for arm, share in shares.items() if arm not in {STABLE, SHADOW}}
    kept = {arm: _first((before or {}).get(arm, ()), size) for arm, size in wanted.items()}
    free = _gaps([span for spans in kept.values() for span in spans])
    out = {}
    for arm, size in wanted.items():
        taken, free = _taken(free, size - _size(kept[arm]))
        out[arm] = _joined([*kept[arm], *taken])
    return out


class RangeRouter:
    """Assigns by ranges of the key's point; whoever is in the holdout is always the stable version's.

    Args:
        ranges: of every arm but the stable one; disjoint.
        seed: of the arms. holdout: share of keys that no arm gets. holdout_seed: of the holdout.
    """

    __slots__ = ("_below", "_held", "_names", "_other", "_seed", "_starts", "_table")

    def __init__(self, ranges: Mapping[str, Sequence[Range]], *, seed: int, holdout: float = 0.0, holdout_seed: int = 1) -> None:
        spans = sorted((start, stop, arm) for arm, held in ranges.items() for start, stop in held if stop > start)
        starts, names, end = [0], [STABLE], 0
        for start, stop, arm in spans:
            if start == end:
                starts.pop()
                names.pop()
            starts += [start, stop]
            names += [arm, STABLE]
            end = stop
        self._starts, self._names, self._seed = [_scaled(start) for start in starts], names, seed
        self._held, self._other = _scaled(round(holdout * MILLION)), holdout_seed
        self._table = np.array(names, dtype=object)
        self._below = np.array([min(start, _MASK) for start in self._starts], dtype=np.uint64)

    def choose(self, ids: Sequence[str], entities: Sequence[str] | None, now_us: int) -> str | list[str]:
        """The arm of the one row, or one arm a row."""
        keys = ids if entities is None else entities
        if len(keys) != 1:
            return self._each(keys)
        try:
            h = crc32(keys[0].encode())
        except UnicodeEncodeError:  # half a character, as JSON may hold one
            h = crc32(_bytes(keys[0]))
        if self._held and (h * self._other) & _MASK < self._held:
            return HOLDOUT
        return self._names[bisect_right(self._starts, (h * self._seed) & _MASK) - 1]

    def _each(self, keys: Sequence[str]) -> list[str]:
        h = np.array([crc32(_bytes(key)) for key in keys], dtype=np.uint64)
        arms = self._table[np.searchsorted(self._below, h * np.uint64(self._seed), side="right") - 1]
        if self._held:
            arms = np.where(h * np.uint64(self._other) < np.uint64(min(self._held, _MASK)), HOLDOUT, arms)
        return arms.tolist()  # type: ignore[no-any-return]


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _scaled(millionths: int) -> int:
    return (millionths << 64) // MILLION


def _size(spans: Sequence[Range]) -> int:
    return sum(stop - start for start, stop in spans)


def _first(spans: Sequence[Range], size: int) -> list[Range]:
    return _taken(list(spans), size)[0]


def _taken(spans: Sequence[Range], size: int) -> tuple[list[Range], list[Range]]:
    """The first ``size`` millionths of spans, and the rest."""
    taken: list[Range] = []
    left: list[Range] = []
    for start, stop in spans:
        cut = start + min(stop - start, max(size, 0))
        size -= cut - start
        if cut > start:
            taken.append((start, cut))
        if stop > cut:
            left.append((cut, stop))
    return taken, left


def _gaps(spans: Sequence[Range]) -> list[Range]:
    gaps, end = [], 0
    for start, stop in [*sorted(spans), (MILLION, MILLION)]:
        if start > end:
            gaps.append((end, start))
        end = max(end, stop)
    return gaps


def _joined(spans: Sequence[Range]) -> tuple[Range, ...]:
    joined: list[Range] = []
    for start, stop in sorted(spans):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return tuple(joined)
