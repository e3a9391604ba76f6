"""A sweep as its caller sees it: the best trial, all trials as a frame, what mattered; while it goes on and afterwards."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from rung.client.client import Client
from rung.client.tuning import records as r
from rung.core.errors import Conflict, NotFound, Unavailable
from rung.core.notebook import curve_svg, facts_html

if TYPE_CHECKING:
    import polars as pl

    from rung.tracking.records import Run

_PAGE = 1000
_ENDED = ("succeeded", "pruned", "failed")


class Sweep:
    """A sweep: its run, and its trials by number.

    Attributes:
        id: the id of its run.
        status: of its run.
        metrics, directions: what was sought.
        rows: its trials.
    """

    def __init__(
        self, client: Client | None, run: str, status: str, metrics: Sequence[str], directions: Sequence[str], rows: Sequence[r.TrialRow]
    ) -> None:
        self.id = run
        self.status = status
        self.metrics = tuple(metrics)
        self.directions = tuple(directions)
        self.rows = tuple(rows)
        self._client = client

    @property
    def best(self) -> r.TrialRow:
        """The best trial that succeeded. Raises Conflict while there is none, or when there are several metrics: see ``front``."""
        if len(self.metrics) > 1:
            raise Conflict(
                f"The sweep has {len(self.metrics)} metrics, so no trial is best in all.",
                code="tuning.several_metrics",
                hint="See sweep.front.",
            )
        done = [row for row in self.rows if row.state == "succeeded" and row.values[0] is not None]
        if not done:
            raise Conflict(
                f"No trial of the sweep succeeded: {self.counts()}.", code="tuning.no_best", hint="See the errors in sweep.trials()."
            )
        sign = self._signs[0]
        return min(done, key=lambda row: (sign * _number(row.values[0]), row.number))

    @property
    def front(self) -> tuple[r.TrialRow, ...]:
        """The trials that no other beats in every metric, by number."""
        done = [row for row in self.rows if row.state == "succeeded"]
        points = {row.number: tuple(sign * _number(value) for sign, value in zip(self._signs, row.values, strict=True)) for row in done}
        return tuple(row for row in done if not any(_beats(points[other.number], points[row.number]) for other in done))

    def states(self) -> dict[str, int]:
        """How many trials ended how."""
        states = [row.state for row in self.rows]
        return {state: states.count(state) for state in sorted(set(states))}

    def counts(self) -> str:
        """The same in words."""
        return ", ".join(f"{count} {state}" for state, count in self.states().items()) or "no trials"

    def trials(self) -> pl.DataFrame:
        """A Polars frame, a row a trial: number, state, each metric's value, each param, times, error, run."""
        import polars as pl  # noqa: PLC0415 - whoever looks at `best` only need not wait for it

        from rung.client.looking import column  # noqa: PLC0415 - it loads Polars

        rows = self.rows
        columns = [
            pl.Series("number", [row.number for row in rows], dtype=pl.Int64),
            pl.Series("state", [row.state for row in rows], dtype=pl.String),
        ]
        for place, metric in enumerate(self.metrics):
            columns.append(pl.Series(metric, [row.values[place] for row in rows], dtype=pl.Float64))
        for name in dict.fromkeys(name for row in rows for name in row.params):
            columns.append(column(f"params.{name}", [_plain(row.params.get(name)) for row in rows]))
        seconds = [(row.ended_at - row.started_at).total_seconds() if row.ended_at and row.started_at else None for row in rows]
        columns += [
            pl.Series("seconds", seconds, dtype=pl.Float64),
            pl.Series("started_at", [row.started_at for row in rows], dtype=pl.Datetime("us", "UTC")),
            pl.Series("error", [row.error.partition("\n")[0] or None for row in rows], dtype=pl.String),
            pl.Series("run", [row.run for row in rows], dtype=pl.String),
        ]
        return pl.DataFrame(columns)

    def importances(self) -> pl.DataFrame:
        """Each param's share of the metric's variance that it explains, greatest first; from the sweep's run. Raises NotFound."""
        import polars as pl  # noqa: PLC0415 - see trials

        if self._client is None:
            raise Unavailable("The sweep is offline.", code="tracking.offline", hint="Send it first: rung sync.")
        try:
            content = self._client.tracking.read_artifact(self.id, r.IMPORTANCES)
        except NotFound:
            raise NotFound(
                "The sweep has no importances.", code="tuning.no_importances", hint="They need a few trials that succeeded and differ."
            ) from None
        return pl.read_parquet(io.BytesIO(content))

    @property
    def _signs(self) -> list[int]:
        return [-1 if direction == "maximize" else 1 for direction in self.directions]

    def __repr__(self) -> str:
        return f"Sweep({self.id}, {self.status}, {self.counts()})"

    def _repr_html_(self) -> str:
        facts: dict[str, dict[str, Any]] = {"sweep": {"run": self.id, "status": self.status, "trials": self.counts()}}
        front = self.front
        for row in front[:5]:
            values = dict(zip(self.metrics, row.values, strict=True))
            facts[f"trial {row.number}" if len(self.metrics) > 1 else f"best: trial {row.number}"] = {**values, **row.params}
            if len(self.metrics) == 1:
                break
        more = ""
        if len(self.metrics) == 1:
            done = [row for row in self.rows if row.state in _ENDED and row.values[0] is not None]
            curve = curve_svg([row.number for row in done], [_number(row.values[0]) for row in done])
            more = f"<figure><figcaption>{escape(self.metrics[0])} by trial</figcaption>{curve}</figure>"
        return facts_html(f"sweep {self.id}", facts, more)


def find(client: Client, sweep: str) -> Run:
    """The run of a sweep, by its id or as ``experiment:12``. Raises NotFound when there is none, or it is no sweep's."""
    run = client.tracking.get(sweep)
    if run.tags.get(r.KIND) != r.SWEEP:
        raise NotFound(f"Run {sweep} is no sweep.", code="tuning.no_sweep", hint="`rung tune status` lists them.")
    return run


def sweep_of(client: Client, run: Run) -> Sweep:
    """A sweep from what the platform knows of its trials."""
    metrics = tuple(run.tags.get(r.METRIC, "").split(", "))
    found: list[Run] = []
    after: str | None = None
    while True:
        page = client.tracking.search(
            f"parent = '{run.id}'", experiments=[run.experiment_number], order_by="started_at", after=after, limit=_PAGE
        )
        found += [item for item in page.items if item.tags.get(r.KIND) == r.TRIAL]
        after = page.next
        if after is None:
            break
    rows = sorted((_row(item, metrics) for item in found), key=lambda row: row.number)
    return Sweep(client, run.id, run.status, metrics, run.tags.get(r.DIRECTION, "").split(", "), rows)


def _row(run: Run, metrics: Sequence[str]) -> r.TrialRow:
    state = run.tags.get(r.STATE, "running")
    number = run.tags.get(r.NUMBER, "0")
    return r.TrialRow(
        number=int(number) if number.isdigit() else 0,
        state=state if state in {"succeeded", "pruned", "failed", "cancelled"} else "running",  # type: ignore[arg-type]  # just looked at
        values=tuple(run.metrics.get(metric) for metric in metrics), params=dict(run.params), run=run.id, started_at=run.started_at,
        ended_at=run.ended_at, error=run.error,
    )  # fmt: skip


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one point is nowhere worse and somewhere better, where less is better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(getattr(value, "__qualname__", value))
