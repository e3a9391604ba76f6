"""Instants and their microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from rung.core.clock import EPOCH, from_micros, to_micros


@pytest.mark.parametrize("micros", [0, 1, -1, -1_000_000, 1_700_000_000_123_456, 253_402_300_799_999_999, -62_135_596_800_000_000])
def test_microseconds_and_instants_tell_the_same(micros: int) -> None:
    assert from_micros(micros) == EPOCH + timedelta(microseconds=micros)
    assert to_micros(from_micros(micros)) == micros


def test_the_zone_of_an_instant_does_not_matter() -> None:
    there = datetime(2013, 7, 1, 3, 30, tzinfo=timezone(timedelta(hours=3, minutes=30)))
    assert to_micros(there) == to_micros(datetime(2013, 7, 1, tzinfo=UTC))
