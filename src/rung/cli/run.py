"""``rung run``: run a pipeline of the project and watch its steps."""

from __future__ import annotations

from typing import Any

import click

from rung.cli.frame import EXIT_FAILURE, client, fail, note, settings, show, state, verb
from rung.cli.watching import Watch, interruptible, leave


@click.command("run", short_help="Run a pipeline of the project.")
@click.argument("name", required=False)
@click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the pipeline; repeat for more.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed from which each step's is derived.")
@click.option("--no-cache", is_flag=True, help="Execute every step even if nothing has changed.")
@click.option("--explain", is_flag=True, help="Say of each step why it ran or was cached.")
@click.option("--dry-run", is_flag=True, help="Say what each step would do, and run nothing.")
@click.option("--audit", is_flag=True, help="Notice files and variables that steps read without declaring them.")
@click.option("--executor", default="", metavar="NAME", help="Where steps run that name none: inline, pool, process, ray, …")
@click.option("--priority", type=click.IntRange(-100, 100), default=0, help="Of queued runs those of a higher one begin first.")
@click.option("--group", default="", metavar="NAME", help="At most --limit runs of a group are under way; the others wait.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Runs of --group at a time.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted, failed or was cancelled.")
@click.option("--rerun", metavar="RUN", help="The run whose results --from takes; default the pipeline's newest.")
@click.option("--from", "start", multiple=True, metavar="STEP", help="Run this step and all that follow anew, take the others' results.")
@click.option("--detach", is_flag=True, help="Only queue the run; a worker executes it.")
@click.option("--follow", is_flag=True, help="Queue the run for a worker, and watch it.")
@verb
def command(
    name: str | None, params: tuple[str, ...], seed: int, no_cache: bool, explain: bool, dry_run: bool, audit: bool, executor: str,  # noqa: FBT001
    priority: int, group: str, limit: int, resume: str | None, rerun: str | None, start: tuple[str, ...], detach: bool, follow: bool,  # noqa: FBT001
) -> None:  # fmt: skip
    """Run a pipeline of the project in this folder, or on a server's workers when RUNG_URL is set.

    A pipeline that the server does not know is packaged from this folder, with the list of what is installed here, and run there.

    \b
    Examples: rung run train -p lr=0.2
              rung run train --explain
              rung run train --explain --dry-run
              rung run train --from fit
              rung run --resume train:7
    """
    if name is not None and rerun is not None and rerun.partition(":")[0] == name:
        name = None  # said twice, and alike
    _check(name, resume, rerun, start)
    pipelines = client().pipelines
    if dry_run:
        if resume is not None:
            raise click.UsageError("--dry-run goes with the name of a pipeline, not with --resume.")
        _say_preview(pipelines.preview(str(name), _parsed(params), seed=seed, use_cache=not no_cache))
        return
    wait = not (detach or follow)
    watch = None if state().json else Watch()
    with interruptible(pipelines.interrupt) as interrupted:
        if resume is not None:
            run = pipelines.resume(resume, wait=wait, listener=watch)
        elif start:
            run = pipelines.rerun(rerun or _newest(str(name)), *start, wait=wait, listener=watch, executor=executor)
        else:
            wish = {
                "params": _parsed(params), "seed": seed, "use_cache": not no_cache, "wait": wait, "listener": watch, "audit": audit,
                "executor": executor, "priority": priority, "concurrency_group": group, "concurrency_limit": limit,
            }  # fmt: skip
            run = _run(str(name), wish)
        if follow:
            run = pipelines.follow(run.id, listener=watch)
    if watch is not None:
        watch.close()
    _tell(pipelines.get(run.id), explain=explain, audit=audit, interrupted=interrupted())


def _run(name: str, wish: dict[str, Any]) -> Any:
    from rung.core.errors import NotFound  # noqa: PLC0415 - `rung --help` must not pay for it

    try:
        return client().pipelines.run(name, **wish)
    except NotFound as error:
        package = _packaged(name) if error.code == "pipelines.no_pipeline" and settings().url else ""
        if not package:
            raise
    return client().pipelines.run(name, **wish, package=package)


def _packaged(name: str) -> str:
    """The digest of a package of this folder's pipeline; empty where it has none of that name."""
    from rung.pipelines.project import load_project  # noqa: PLC0415 - only where a server does not know it

    if name not in load_project(settings()).pipelines:
        return ""
    package = client().packages.build(name, freeze=True)
    note(f"The server knows no pipeline {name!r}: it runs this folder's, packaged as {package.digest[7:19]}.")
    return package.digest


def _tell(detail: Any, *, explain: bool, audit: bool, interrupted: bool) -> None:
    """Show how a run stands, and end with its exit code."""
    run = detail.run
    if state().json:
        show(detail)
    else:
        if explain:
            for step in detail.steps:
                click.echo(f"{step.key}: {step.reason or step.status}")
        if audit:
            _say_undeclared(detail)
        _summary(detail)
    if run.status == "failed":
        last = next(
            (a for a in reversed(detail.attempts) if any(s.id == a.step_run and s.key == run.failed_step for s in detail.steps)), None
        )
        hint = f"`rung pipeline log {run.pipeline}:{run.number} {run.failed_step}` shows its log." if last else None
        fail(run.error, hint=hint, code=EXIT_FAILURE)
    if interrupted:
        click.secho(f"Run {run.pipeline}:{run.number} was stopped; `rung run --resume {run.pipeline}:{run.number}` goes on.", err=True)
        leave()
    if run.status == "cancelled":
        fail(f"Run {run.pipeline}:{run.number} was cancelled.", hint=f"`rung run --resume {run.pipeline}:{run.number}` goes on with it.")


def _check(name: str | None, resume: str | None, rerun: str | None, start: tuple[str, ...]) -> None:
    if rerun is not None and not start:
        raise click.UsageError("--rerun RUN needs --from STEP.")
    if (name is None) == (resume is None and rerun is None):
        raise click.UsageError(
            "Give either the name of a pipeline (`rung pipeline list` shows them), or --resume RUN, or --rerun RUN --from STEP."
        )


def _newest(name: str) -> str:
    found = client().pipelines.runs(name, limit=1).items
    if not found:
        raise click.UsageError(f"Pipeline {name!r} has no run whose results could be taken; leave --from out.")
    return str(found[0].id)


def _parsed(params: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for param in params:
        key, equals, value = param.partition("=")
        if not equals:
            raise click.UsageError(f"-p {param!r} has no '='. Write -p KEY=VALUE.")
        found[key] = value
    return found


def _say_preview(told: Any) -> None:
    if state().json:
        show(told)
        return
    words = {"cached": "is cached", "run": "would run", "unknown": "may run"}
    for step in told:
        click.echo(f"{step.key} {words[step.would]}: {step.reason}.")
    counts = {name: sum(step.would == name for step in told) for name in words}
    note(f"{counts['run']} steps would run, {counts['unknown']} may, {counts['cached']} are cached. Nothing was run.")


def _say_undeclared(detail: Any) -> None:
    lines = [(step.key, line) for step in detail.steps for line in step.undeclared]
    for key, line in lines:
        click.echo(f"{key} read undeclared: {line}")
    if not lines:
        note("No step that ran read anything undeclared.")


def _summary(detail: Any) -> None:
    run = detail.run
    cached = sum(step.status == "cached" for step in detail.steps)
    ran = sum(step.status == "succeeded" for step in detail.steps)
    note(f"{run.pipeline}:{run.number} {run.status}: {ran} steps ran, {cached} cached, {run.wall_s:.2f} s. Run {run.id}")
