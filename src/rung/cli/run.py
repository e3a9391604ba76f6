"""``rung run``: run a pipeline of the project and watch its steps."""

from __future__ import annotations

import sys
from typing import Any

import click

from rung.cli.frame import EXIT_FAILURE, client, fail, note, show, state, verb

_MARKS = {
    "succeeded": ("✓", "green"),
    "cached": ("=", "cyan"),
    "failed": ("✗", "red"),
    "cancelled": ("-", "yellow"),
    "running": ("…", "white"),
}


@click.command("run", short_help="Run a pipeline of the project.")
@click.argument("name", required=False)
@click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the pipeline; repeat for more.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed from which each step's is derived.")
@click.option("--no-cache", is_flag=True, help="Execute every step even if nothing has changed.")
@click.option("--explain", is_flag=True, help="Say of each step why it ran or was cached.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted, failed or was cancelled.")
@click.option("--detach", is_flag=True, help="Only queue the run; a worker executes it.")
@verb
def command(name: str | None, params: tuple[str, ...], seed: int, no_cache: bool, explain: bool, resume: str | None, detach: bool) -> None:  # noqa: FBT001
    """Run a pipeline of the project in this folder, or on a server's workers when RUNG_URL is set.

    \b
    Examples: rung run train -p lr=0.2
              rung run train --explain
              rung run --resume train:7
    """
    if (name is None) == (resume is None):
        raise click.UsageError("Give either the name of a pipeline or --resume RUN.")
    pipelines = client().pipelines
    listener = None if state().json else _say
    if resume is not None:
        run = pipelines.resume(resume, wait=not detach, listener=listener)
    else:
        run = pipelines.run(str(name), _parsed(params), seed=seed, use_cache=not no_cache, wait=not detach, listener=listener)
    detail = pipelines.get(run.id)
    if state().json:
        show(detail)
    else:
        if explain:
            for step in detail.steps:
                click.echo(f"{step.key}: {step.reason or step.status}")
        _summary(detail)
    if run.status == "failed":
        last = next(
            (a for a in reversed(detail.attempts) if any(s.id == a.step_run and s.key == run.failed_step for s in detail.steps)), None
        )
        hint = f"`rung pipeline log {run.pipeline}:{run.number} {run.failed_step}` shows its log." if last else None
        fail(run.error, hint=hint, code=EXIT_FAILURE)
    if run.status == "cancelled":
        fail(f"Run {run.pipeline}:{run.number} was cancelled.", hint=f"`rung run --resume {run.pipeline}:{run.number}` goes on with it.")


def _parsed(params: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for param in params:
        key, equals, value = param.partition("=")
        if not equals:
            raise click.UsageError(f"-p {param!r} has no '='. Write -p KEY=VALUE.")
        found[key] = value
    return found


def _say(step: Any) -> None:
    """One line a change: what a log file wants; a terminal sees the running step replaced by its end."""
    mark, colour = _MARKS.get(step.status, ("·", "white"))
    on_terminal = sys.stderr.isatty()
    if step.status == "running":
        if on_terminal:
            click.echo(f"\r  {mark} {step.key}", err=True, nl=False)
        return
    cost = f"{step.wall_s:8.2f} s" if step.status != "cached" else "   cached"
    again = f"  ({step.attempts} attempts)" if step.attempts > 1 else ""
    click.echo(("\r" if on_terminal else "") + "  " + click.style(mark, fg=colour) + f" {step.key:<32} {cost}{again}", err=True)


def _summary(detail: Any) -> None:
    run = detail.run
    cached = sum(step.status == "cached" for step in detail.steps)
    ran = sum(step.status == "succeeded" for step in detail.steps)
    note(f"{run.pipeline}:{run.number} {run.status}: {ran} steps ran, {cached} cached, {run.wall_s:.2f} s. Run {run.id}")
