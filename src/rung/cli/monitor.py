"""``rung monitor``: watch deployments, window by window."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from rung.cli.frame import client, note, show, state, table, verb

_TIMES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])


@click.group("monitor", short_help="Watch deployments: drift, quality, performance.")
def command() -> None:
    """Watch deployments: drift, quality, performance."""


@command.command("add")
@click.argument("deployment")
@click.option("--window-days", default=7, show_default=True, help="Length of a window.")
@click.option("--reference", default=None, help="Dataset version to compare with, NAME:NUMBER; default: the model's training rows.")
@click.option(
    "--metric",
    type=click.Choice(["auc", "log_loss", "brier", "accuracy", "mae", "rmse"]),
    default=None,
    help="Metric that is judged; default auc.",
)
@click.option("--alert-line", type=float, default=None, help="Value of the metric that must not be crossed.")
@click.option("--allowed-loss", default=0.02, show_default=True, help="Points of the metric it may fall below the model's own evaluation.")
@click.option("--label-delay-days", default=1.0, show_default=True, help="Days until every label is due.")
@click.option("--positive", default=None, help="Label value that counts as 1.")
@click.option("--replace", is_flag=True, help="Change the monitor the deployment already has.")
@verb
def add(deployment: str, reference: str | None, label_delay_days: float, **options: Any) -> None:
    """Watch a deployment.

    \b
    Example: rung monitor add late-flights --window-days 7 --label-delay-days 2
    """
    dataset, _, number = (reference or "").partition(":")
    made = client().monitoring.add(
        deployment,
        reference_dataset=dataset or None,
        reference_number=int(number) if number.isdigit() else None,
        label_delay_s=label_delay_days * 86_400,
        **options,
    )
    show(made)


@command.command("run")
@click.argument("deployment")
@click.option("--as-of", type=_TIMES, default=None, help="Judge what was known at this instant (UTC); default now.")
@verb
def run(deployment: str, as_of: datetime | None) -> None:
    """Measure every complete window that is not final, raise alerts, open incidents.

    \b
    Example: rung monitor run late-flights --as-of 2013-05-01
    """
    report = client().monitoring.run(deployment, _utc(as_of))
    _tell(report)


@command.command("list")
@verb
def list_monitors() -> None:
    """Monitors of the project.

    \b
    Example: rung monitor list
    """
    columns = ("deployment", "window_days", "metric", "allowed_loss", "label_delay_s", "created_at")
    show(client().monitoring.monitors(), columns, empty="Nothing is watched yet: rung monitor add DEPLOYMENT")


@command.command("show")
@click.argument("deployment")
@verb
def show_monitor(deployment: str) -> None:
    """One monitor.

    \b
    Example: rung monitor show late-flights
    """
    show(client().monitoring.monitor(deployment))


@command.command("report")
@click.argument("deployment")
@click.option("--start", type=_TIMES, default=None, help="First window to show.")
@click.option("--end", type=_TIMES, default=None, help="End of the last window to show.")
@verb
def report(deployment: str, start: datetime | None, end: datetime | None) -> None:
    """What every stored window said, with a verdict in one sentence.

    \b
    Example: rung monitor report late-flights
    """
    _tell(client().monitoring.report(deployment, _utc(start), _utc(end)))


def _tell(report: Any) -> None:
    if state().json:
        show(report)
        return
    click.echo(report.sentence)
    rows = [
        (
            f"{w.start:%Y-%m-%d}", f"{w.end:%Y-%m-%d}", w.rows, f"{w.model}:{w.version}" if w.model else None,
            sum(d.verdict == "drifted" for d in w.drift), sum(d.verdict == "insufficient" for d in w.drift), len(w.quality),
            w.performance.value if w.performance else None, w.recent.value if w.recent else None, w.labelled_share, w.final,
        )
        for w in report.windows
    ]  # fmt: skip
    if rows:
        names = ("start", "end", "rows", "model", "drifted", "insufficient", "faults", "metric", "recent", "labelled", "final")
        table(names, rows, title="Windows")
    slices = [
        (
            f"{w.start:%Y-%m-%d}",
            part.arm,
            f"{part.model}:{part.version}",
            part.rows,
            part.labelled,
            part.mean_score,
            part.value,
            part.reference,
        )
        for w in report.windows
        for part in w.slices
    ]
    if slices:
        table(("start", "arm", "model", "rows", "labelled", "mean score", "metric", "own"), slices, title="Windows by arm")
    for fault in (fault for window in report.windows for fault in window.quality):
        click.echo(f"! {fault.statement}")
    if report.incidents:
        table(
            ("incident", "rule", "status", "cause", "alerts", "title"),
            [(i.number, i.rule, i.status, i.cause, i.alerts, i.title) for i in report.incidents],
            title="Incidents",
        )
        note("Next: rung incident show NUMBER")


def _utc(at: datetime | None) -> datetime | None:
    return at and at.replace(tzinfo=UTC)
