"""``rung pipeline``: pipelines, their runs and their logs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from rung.cli.frame import client, fail, note, settings, show, state, verb

if TYPE_CHECKING:
    from rung.pipelines.records import StepAttempt, StepRun

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
        empty=(
            "The server knows no pipelines. `rung run NAME` runs one of this folder there, `rung worker` where its database is makes all known."
            if settings().url
            else "No pipelines yet. Write one into pipelines.py with @rung.pipeline."
        ),
    )


@command.command("show")
@click.argument("name")
@verb
def show_(name: str) -> None:
    """Parameters and plan of a pipeline. Example: rung pipeline show train"""
    from rung.pipelines.explaining import without_plan  # noqa: PLC0415

    client().pipelines.register()
    info = client().pipelines.pipeline(name)
    if state().json:
        show(info)
        return
    click.echo(f"{info.name}: {info.doc}" if info.doc else info.name)
    columns = ("name", "type", "required", "default", "unit", "minimum", "maximum", "choices", "doc")
    said = [name for name in columns if name in columns[:4] or any(getattr(spec, name) not in (None, "", ()) for spec in info.params)]
    show(info.params, said, title="Parameters", empty="It takes no parameters.")
    show(info.steps, ("key", "kind", "needs", "inputs", "doc"), title="Steps", empty=without_plan(info))


@command.command("runs")
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@verb
def runs(name: str | None, limit: int) -> None:
    """Runs of a pipeline, or of all, newest first. Example: rung pipeline runs train"""
    found = client().pipelines.runs(name, limit=limit)
    if name is not None and not found.items:
        client().pipelines.register()
        client().pipelines.pipeline(name)  # there may be none of that name
    show(found, _RUN_COLUMNS, empty="No runs yet. `rung run NAME` starts one.")


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
    if detail.run.status == "running":
        note(f"Should what runs it be gone: a worker takes it over, and `rung run --resume {run}` goes on with it at once.")


@command.command("log")
@click.argument("run")
@click.argument("step")
@click.option("--attempt", type=click.IntRange(1), help="An earlier attempt than the newest.")
@click.option("--item", type=click.IntRange(0), help="Of a map, what the batch printed in which this item ended, counted from 0.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the step has ended.")
@verb
def log(run: str, step: str, attempt: int | None, item: int | None, follow: bool) -> None:  # noqa: FBT001
    """What a step printed; of a map every batch in turn. Example: rung pipeline log train:3 fit -f"""
    pipelines = client().pipelines
    if item is not None:
        found = pipelines.items(run, step, after=item - 1, limit=1)
        if not found or found[0].position != item:
            fail(f"Item {item} of step {step!r} has not ended.", hint=f"`rung pipeline log {run} {step}` shows what there is.")
        data = client().transport.get_blob(found[0].log) if found[0].log else b""
        click.echo(data.decode("utf-8", "replace"), nl=False)
        return
    detail = pipelines.get(run)
    held = next((one for one in detail.steps if one.key == step), None)
    batches = held is not None and held.items > 0 and attempt is None and not state().json
    attempts = sorted(a.number for a in detail.attempts if held is not None and a.step_run == held.id) if batches else [attempt]
    ended = all(_log_one(run, step, number, follow=follow) for number in attempts or [None])
    if held is not None and ended and not batches and attempt is None:
        _say_before(run, held, [a for a in detail.attempts if a.step_run == held.id])


def _say_before(run: str, held: StepRun, attempts: list[StepAttempt]) -> None:
    """Attempts before the newest, whose log was shown."""
    for one in sorted(attempts, key=lambda a: a.number)[:-1]:
        how = one.error.splitlines()[0] if one.error else one.status
        note(f"Attempt {one.number}: {how}; `rung pipeline log {run} {held.key} --attempt {one.number}` shows it.")


def _log_one(run: str, step: str, attempt: int | None, *, follow: bool) -> bool:
    """Print one attempt's log; whether it has been told to its end."""
    offset = 0
    while True:
        chunk = client().pipelines.log(run, step, attempt=attempt, offset=offset)
        if state().json:
            show(chunk)
            return False
        click.echo(chunk.text, nl=False)
        if chunk.finished or (not follow and chunk.next_offset == offset):
            return chunk.finished
        if chunk.next_offset == offset:
            time.sleep(0.3)
        offset = chunk.next_offset


@command.command("explain")
@click.argument("run")
@click.argument("step", required=False)
@verb
def explain(run: str, step: str | None) -> None:
    """Why steps of a run were executed or not, and what had changed. Example: rung pipeline explain train:3 fit"""
    told = client().pipelines.explain(run, step)
    if state().json:
        show(told)
        return
    for item in told:
        click.echo(f"{item.key} ({item.status}): {item.reason or 'no reason was kept'}")
        for change in item.changes:
            click.echo(f"  {change.part} {change.name}: {change.before or '–'} → {change.after or '–'}")
        for line in item.undeclared:
            click.echo(f"  read undeclared: {line}")


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
