"""The frontier of a plan: nodes come up when everything they wait for has ended. Each edge is looked at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence


class Frontier:
    """Counts for each node the needs that have not ended yet."""

    def __init__(self, needs: Mapping[str, Sequence[str]]) -> None:
        self._left: dict[str, int] = {}
        self._after: dict[str, list[str]] = {key: [] for key in needs}
        self._up: deque[str] = deque()
        for key, earlier in needs.items():
            distinct = dict.fromkeys(earlier)
            self._left[key] = len(distinct)
            for need in distinct:
                self._after[need].append(key)
            if not distinct:
                self._up.append(key)

    def end(self, key: str) -> None:
        """Note that a node has ended, well or ill."""
        for later in self._after[key]:
            self._left[later] -= 1
            if self._left[later] == 0:
                self._up.append(later)

    @property
    def has_come_up(self) -> bool:
        """Whether ``come_up`` would answer any."""
        return bool(self._up)

    def come_up(self) -> list[str]:
        """Nodes that have come up since the last call."""
        found = list(self._up)
        self._up.clear()
        return found

    def with_all_after(self, keys: Iterable[str]) -> set[str]:
        """These nodes and every node that follows from them."""
        found, waiting = set(keys), list(keys)
        while waiting:
            for later in self._after[waiting.pop()]:
                if later not in found:
                    found.add(later)
                    waiting.append(later)
        return found
