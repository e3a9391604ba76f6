"""``rung pipeline``: pipelines, their runs and their logs."""

from __future__ import annotations

import time

import click

from rung.cli.frame import client, note, show, state, verb

_RUN_COLUMNS = ("pipeline", "number", "status", "cause.kind", "created_at", "wall_s", "created_by", "id")


@click.group("pipeline", short_help="Pipelines, their runs and logs.")
def command() -> None:
    """Pipelines, their runs and their logs. Example: rung pipeline runs."""


@command.command("list")
@verb
def list_() -> None:
    """Pipelines of the project. Example: rung pipeline list"""
    pipelines = client().pipelines
    show(
        pipelines.register(),
        ("name", "doc", "target", "seen_at"),
        empty="No pipelines yet. Write one into pipelines.py with @rung.pipeline.",
    )


@command.command("show")
@click.argument("name")
@verb
def show_(name: str) -> None:
    """Parameters and plan of a pipeline. Example: rung pipeline show train"""
    client().pipelines.register()
    info = client().pipelines.pipeline(name)
    if state().json:
        show(info)
        return
    click.echo(f"{info.name}: {info.doc}" if info.doc else info.name)
    show(info.params, ("name", "type", "required", "default"), title="Parameters", empty="It takes no parameters.")
    show(info.steps, ("key", "needs", "inputs", "doc"), title="Steps", empty="Its plan depends on parameters without defaults.")


@command.command("runs")
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@verb
def runs(name: str | None, limit: int) -> None:
    """Runs of a pipeline, or of all, newest first. Example: rung pipeline runs train"""
    show(client().pipelines.runs(name, limit=limit), _RUN_COLUMNS, empty="No runs yet. `rung run NAME` starts one.")


@command.command("status")
@click.argument("run")
@verb
def status(run: str) -> None:
    """A run with its steps and why each ran or was cached. Example: rung pipeline status train:3"""
    detail = client().pipelines.get(run)
    if state().json:
        show(detail)
        return
    show(
        detail.run,
        ("pipeline", "number", "status", "params", "cause.reason", "error", "run_id", "code", "git_commit", "lock", "wall_s", "cpu_s"),
    )
    show(detail.steps, ("key", "status", "attempts", "wall_s", "cpu_s", "reason"), title="Steps", empty="It has no steps yet.")


@command.command("log")
@click.argument("run")
@click.argument("step")
@click.option("--attempt", type=click.IntRange(1), help="An earlier attempt than the newest.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the step has ended.")
@verb
def log(run: str, step: str, attempt: int | None, follow: bool) -> None:  # noqa: FBT001
    """What a step printed. Example: rung pipeline log train:3 fit -f"""
    offset = 0
    while True:
        chunk = client().pipelines.log(run, step, attempt=attempt, offset=offset)
        if state().json:
            show(chunk)
            return
        click.echo(chunk.text, nl=False)
        if chunk.finished or (not follow and chunk.next_offset == offset):
            return
        if chunk.next_offset == offset:
            time.sleep(0.3)
        offset = chunk.next_offset


@command.command("cancel")
@click.argument("run")
@verb
def cancel(run: str) -> None:
    """Stop a run. Example: rung pipeline cancel train:3"""
    answer = client().pipelines.cancel(run)
    note(
        f"{answer.pipeline}:{answer.number} is asked to stop."
        if answer.status == "running"
        else f"{answer.pipeline}:{answer.number} is {answer.status}."
    )
    if state().json:
        show(answer)
