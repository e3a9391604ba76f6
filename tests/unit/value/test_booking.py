"""Bookings that were computed side by side and are entered one after the other."""

from __future__ import annotations

from datetime import UTC, datetime

from rung.app.local import LocalTransport
from rung.core.ids import new_id
from rung.value.booking import Booking, book
from rung.value.records import LedgerEntry
from rung.value.store import ValueStore

AT = datetime(2026, 1, 20, tzinfo=UTC)


def serving(rows: int, *, booked: int = 0) -> Booking:
    """So many rows in all, seen when some of them were in the ledger."""
    fresh = (rows - booked) / 1000
    entry = LedgerEntry(
        id=new_id(), model="late", kind="serving", amount=fresh * 2.0, currency="USD", quantity=fresh, unit="1000 predictions", rate=2.0,
        basis=f"{rows - booked} answers of 2026-01, shadows included", subject="deployment api 2026-01", spent_at=AT, created_at=AT,
        created_by="computed",
    )  # fmt: skip
    return f"serving:api:2026-01:{rows}", entry


def entered(transport: LocalTransport, *bookings: Booking) -> list[tuple[float, float]]:
    """Quantities and amounts of what was new."""
    found = transport.platform.database.write(lambda connection: book(ValueStore(connection, "p"), "late", list(bookings)))
    return [(entry.quantity, entry.amount) for entry in found]


def test_rows_that_two_bookings_saw_are_paid_once(transport: LocalTransport) -> None:
    early, late = serving(1000), serving(1200)
    assert entered(transport, early) == [(1.0, 2.0)]
    assert entered(transport, late) == [(0.2, 0.4)]
    held = transport.platform.database.read(lambda connection: ValueStore(connection, "p").entries("late"))
    assert held[1].basis == "200 answers of 2026-01, shadows included"
    assert entered(transport, serving(1300, booked=1200)) == [(0.1, 0.2)]


def test_a_booking_that_comes_after_one_of_more_rows_enters_nothing(transport: LocalTransport) -> None:
    assert entered(transport, serving(1200)) == [(1.2, 2.4)]
    assert entered(transport, serving(1000)) == []
