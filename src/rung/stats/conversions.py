"""Units that are often mistaken for each other, as affine maps from what was delivered back to what was meant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Conversion:
    """``meant = factor * delivered + offset``."""

    delivered: str
    meant: str
    factor: float
    offset: float = 0.0

    @property
    def statement(self) -> str:
        """The mistake in words."""
        return f"{self.delivered} instead of {self.meant}"

    def restore(self, values: Floats) -> Floats:
        """Delivered values in the unit that was meant."""
        return np.asarray(values * self.factor + self.offset, dtype=np.float64)


_EXACT = (
    ("°C", "°F", 1.8, 32.0),
    ("K", "°C", 1.0, -273.15),
    ("K", "°F", 1.8, -459.67),
    ("km", "mi", 1 / 1.609344, 0.0),
    ("m", "ft", 1 / 0.3048, 0.0),
    ("cm", "in", 1 / 2.54, 0.0),
    ("mm", "in", 1 / 25.4, 0.0),
    ("kg", "lb", 1 / 0.45359237, 0.0),
    ("m/s", "mph", 1 / 0.44704, 0.0),
    ("m/s", "km/h", 3.6, 0.0),
    ("kn", "mph", 1.150779448, 0.0),
    ("l", "gal", 1 / 3.785411784, 0.0),
    ("hPa", "inHg", 1 / 33.8638866667, 0.0),
    ("minutes", "hours", 1 / 60, 0.0),
    ("seconds", "hours", 1 / 3600, 0.0),
    ("radians", "degrees", 180 / np.pi, 0.0),
)
_TENFOLD = tuple((f"10^{power} times the value", "the value", 10.0**-power, 0.0) for power in (1, 2, 3, 6))
_SIGN = (("the value with its sign changed", "the value", -1.0, 0.0),)


def _both_ways() -> tuple[Conversion, ...]:
    found = []
    for delivered, meant, factor, offset in _EXACT:
        found.append(Conversion(delivered, meant, factor, offset))
        found.append(Conversion(meant, delivered, 1 / factor, -offset / factor))
    for delivered, meant, factor, offset in _TENFOLD:
        found.append(Conversion(delivered, meant, factor, offset))
        found.append(Conversion(delivered.replace("10^", "10^-"), meant, 1 / factor, -offset / factor))
    found += [Conversion(*item) for item in _SIGN]
    return tuple(found)


CONVERSIONS = _both_ways()
