"""Pages of lists that are sorted in memory: experiments, logged models and other things there are few of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cmp_to_key
from typing import TypeVar

import msgspec

from rung.core.errors import Invalid
from rung.core.filters import OrderBy
from rung.core.records import Page

T = TypeVar("T")
Sortable = str | int | float | None


def sorted_page(
    items: Sequence[T],
    orders: Sequence[OrderBy],
    value: Callable[[T, OrderBy], Sortable],
    identity: Callable[[T], str],
    after: str | None,
    limit: int,
) -> Page[T]:
    """A page of items sorted by the orders, then newest id first; items without a value, or with NaN, come last.

    The mark of a page is the id of its last item, so that what was added meanwhile neither repeats nor skips another.
    Raises Invalid for a mark that is none.
    """

    def compare(a: T, b: T) -> int:
        for order in orders:
            found = _compared(value(a, order), value(b, order), descending=order.descending)
            if found:
                return found
        return -1 if identity(a) > identity(b) else 1

    held = sorted(items, key=cmp_to_key(compare))
    start = 0
    if after is not None:
        last = _unmarked(after)
        start = next((n + 1 for n, item in enumerate(held) if identity(item) == last), len(held))
    page = held[start : start + limit]
    mark = msgspec.json.encode([identity(page[-1])]).decode() if start + limit < len(held) else None
    return Page(items=tuple(page), next=mark)


def _compared(a: Sortable, b: Sortable, *, descending: bool) -> int:
    ranks = (_rank(a), _rank(b))
    if ranks[0] != ranks[1]:
        return -1 if ranks[0] < ranks[1] else 1
    if ranks[0] or a == b:
        return 0
    smaller = str(a) < str(b) if isinstance(a, str) or isinstance(b, str) else a < b  # type: ignore[operator]  # numbers by now
    return 1 if smaller == descending else -1


def _rank(value: Sortable) -> int:
    if value is None:
        return 2
    return 1 if value != value else 0  # noqa: PLR0124 - NaN is what differs from itself


def _unmarked(after: str) -> str:
    try:
        (found,) = msgspec.json.decode(after, type=tuple[str])
    except (msgspec.ValidationError, msgspec.DecodeError):
        raise Invalid(
            f"{after[:60]!r} is not the mark of a page.", code="tracking.bad_page", hint="Pass the `next` of the page before."
        ) from None
    return found
