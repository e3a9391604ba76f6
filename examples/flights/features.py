"""What the model may know of a flight at its scheduled departure, point-in-time correct."""

from __future__ import annotations

from rung.features.records import Feature, FeatureView

HOUR, DAY = 3600.0, 86_400.0

WEATHER = FeatureView(
    name="weather",
    entity=("origin",),
    dataset="weather",
    time_column="observed",
    created_column="known",  # an observation is published an hour after it was made
    ttl_s=6 * HOUR,
    versions="all",
    features=tuple(Feature(name=name) for name in ("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib")),
    description="Hourly weather at the airport of departure.",
)
CARRIER = FeatureView(
    name="carrier_lateness",
    entity=("carrier",),
    dataset="arrivals",
    time_column="arrived",
    versions="all",
    features=(
        Feature(name="carrier_24h", column="late", aggregate="mean", window_s=DAY),
        Feature(name="carrier_7d", column="late", aggregate="mean", window_s=7 * DAY),
    ),
    description="Share of a carrier's flights that came late, of those that had landed.",
)
VIEWS = (WEATHER, CARRIER)
INPUTS = (
    "carrier", "origin", "dest", "distance", "minute_of_day", "weekday", "plane_age", "seats",
    "temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib", "carrier_24h", "carrier_7d",
)  # fmt: skip
TEXT = ("carrier", "origin", "dest")
