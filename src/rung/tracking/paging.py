"""Pages of lists that are sorted in memory: experiments, logged models and other things there are few of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    held = sorted(items, key=identity, reverse=True)
    for order in reversed(orders):
        held = _sorted(held, [value(item, order) for item in held], descending=order.descending)
    start = 0
    if after is not None:
        last = unmarked(after)
        start = next((n + 1 for n, item in enumerate(held) if identity(item) == last), len(held))
    page = held[start : start + limit]
    return Page(items=tuple(page), next=marked(identity(page[-1])) if start + limit < len(held) else None)


def marked(identity: str) -> str:
    """The mark of a page that ends with an item."""
    return msgspec.json.encode([identity]).decode()


def _sorted(items: Sequence[T], values: Sequence[Sortable], *, descending: bool) -> list[T]:
    """Items by their values, those of equal value as they stood; values of which some are texts compare as texts."""
    pairs = list(zip(values, items, strict=True))
    known = [pair for pair in pairs if _rank(pair[0]) == 0]
    texts = any(isinstance(value, str) for value, _ in known)
    known.sort(key=lambda pair: str(pair[0]) if texts else pair[0], reverse=descending)  # type: ignore[arg-type,return-value]  # numbers by then
    rest = [item for rank in (1, 2) for value, item in pairs if _rank(value) == rank]
    return [item for _, item in known] + rest


def _rank(value: Sortable) -> int:
    if value is None:
        return 2
    return 1 if value != value else 0  # noqa: PLR0124 - NaN is what differs from itself


def unmarked(after: str) -> str:
    """The item that the page before ended with. Raises Invalid."""
    try:
        (found,) = msgspec.json.decode(after, type=tuple[str])
    except (msgspec.ValidationError, msgspec.DecodeError):
        raise Invalid(
            f"{after[:60]!r} is not the mark of a page.", code="tracking.bad_page", hint="Pass the `next` of the page before."
        ) from None
    return found
