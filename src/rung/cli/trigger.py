"""``rung trigger``: what starts pipelines by itself."""

from __future__ import annotations

from typing import Any

import click

from rung.cli.frame import client, show, verb
from rung.cli.run import _parsed

_COLUMNS = ("name", "pipeline", "kind", "subject", "cron", "zone", "cooldown_s", "paused", "next_fire", "last_fired_at")


@click.group("trigger", short_help="What starts pipelines by itself.")
def command() -> None:
    """Schedules, new dataset versions, alerts and decisions that start pipelines. Example: rung trigger list."""


@command.command("add")
@click.argument("name")
@click.argument("pipeline")
@click.option("--cron", default="", help='Start by time, e.g. "0 6 * * 1".')
@click.option("--zone", default="UTC", show_default=True, help="Time zone of --cron.")
@click.option(
    "--catch-up", type=click.Choice(["none", "last", "all"]), default="last", show_default=True, help="What becomes of missed times."
)
@click.option("--dataset", help="Start when this dataset has a new version.")
@click.option("--alert", help="Start when this deployment raises an alert.")
@click.option("--decision", help="Start when it is decided to retrain this deployment's model.")
@click.option("--cooldown", default="0", show_default=True, help="Least time between two starts, e.g. 1h.")
@click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the pipeline.")
@verb
def add(name: str, pipeline: str, cooldown: str, params: tuple[str, ...], **given: Any) -> None:
    """Let something start a pipeline.

    \b
    Examples: rung trigger add weekly train --cron "0 6 * * 1" --zone Europe/Berlin
              rung trigger add on-flights train --dataset flights --cooldown 1h
    """
    from rung.pipelines.authoring import seconds  # noqa: PLC0415

    subjects = {"schedule": given["cron"] and "*", "dataset": given["dataset"], "alert": given["alert"], "decision": given["decision"]}
    chosen = [(kind, subject) for kind, subject in subjects.items() if subject]
    if len(chosen) != 1:
        raise click.UsageError("Give exactly one of --cron, --dataset, --alert, --decision.")
    kind, subject = chosen[0]
    verbs = client().pipelines
    show(
        verbs.add_trigger(
            name, pipeline, kind, subject=subject, cron=given["cron"], zone=given["zone"], catch_up=given["catch_up"],  # type: ignore[arg-type]  # a key of subjects
            cooldown_s=seconds(cooldown) or 0.0, params=_parsed(params),
        ),
        _COLUMNS,
    )  # fmt: skip


@command.command("list")
@verb
def list_() -> None:
    """Triggers of the project. Example: rung trigger list"""
    show(client().pipelines.triggers(), _COLUMNS, empty="No triggers yet. `rung trigger add` makes one.")


@command.command("remove")
@click.argument("name")
@verb
def remove(name: str) -> None:
    """Remove a trigger. Example: rung trigger remove weekly"""
    show(client().pipelines.remove_trigger(name), _COLUMNS)


@command.command("pause")
@click.argument("name", required=False)
@verb
def pause(name: str | None) -> None:
    """Pause a trigger, or all of them. Example: rung trigger pause weekly"""
    show(client().pipelines.pause_triggers(name), _COLUMNS)


@command.command("unpause")
@click.argument("name", required=False)
@verb
def unpause(name: str | None) -> None:
    """Let a trigger, or all of them, work again. Example: rung trigger unpause weekly"""
    show(client().pipelines.pause_triggers(name, paused=False), _COLUMNS)


@command.command("fires")
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@verb
def fires(name: str | None, limit: int) -> None:
    """When triggers fired or were held back, and why. Example: rung trigger fires weekly"""
    show(
        client().pipelines.trigger_fires(name, limit=limit),
        ("at", "outcome", "cause", "reason", "pipeline_run"),
        empty="No trigger was called upon yet.",
    )
