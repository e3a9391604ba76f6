"""``rung tune``: search a space of params; list, show, stop and go on with sweeps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from rung.cli.frame import EXIT_FAILURE, DefaultGroup, client, fail, note, show, state, table, verb

if TYPE_CHECKING:
    from rung.client.tuning.records import TrialRow
    from rung.client.tuning.sweep import Sweep

_MARKS = {"succeeded": ("✓", "green"), "pruned": ("✂", "cyan"), "failed": ("✗", "red"), "cancelled": ("-", "yellow")}
_MOST = 100


class _RunByDefault(DefaultGroup):
    """``rung tune train.py:objective`` is ``rung tune run train.py:objective``; without arguments it is the help."""

    default = "run"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args) if args else click.Group.parse_args(self, ctx, args)


@click.group("tune", cls=_RunByDefault, short_help="Search a space of params for the best value.")
def command() -> None:
    """Search a space of params for the best value of a metric: a sweep of trials, each a run.

    \b
    rung tune train.py:objective -p lr=float:1e-4:0.1:log -p depth=int:2:10 --metric auc --direction maximize --trials 50
    """


def _limits(function: Any) -> Any:
    """Options that a new sweep and one gone on with share."""
    for option in (
        click.option("--failures", type=click.IntRange(1), default=5, show_default=True, help="So many failing trials in a row end it."),
        click.option("--threads", is_flag=True, help="Workers are threads instead of processes."),
        click.option("--workers", "-w", type=click.IntRange(1), default=1, show_default=True, help="Trials at a time."),
        click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Begin no trial later than that."),
        click.option("--trials", "-n", type=click.IntRange(1), help="How many in all; default 20, or no bound with --seconds."),
    ):
        function = option(function)
    return function


@command.command("run")
@click.argument("target", nargs=-1, required=True)
@click.option(
    "-p", "--param", "params", multiple=True, metavar="NAME=RANGE", help="lr=float:1e-4:0.1:log, depth=int:2:10, kind=choice:a,b."
)
@click.option("--space", type=click.Path(exists=True, dir_okay=False), help="A YAML file of ranges by name.")
@click.option("--metric", "-m", "metrics", multiple=True, help="What is sought; default objective; repeat for trade-offs.")
@click.option("--direction", "-d", "directions", multiple=True, type=click.Choice(["minimize", "maximize"]), help="One a metric.")
@click.option("--sampler", help="tpe (default), random, grid, cmaes, qmc, gp, nsga2.")
@click.option("--pruner", help="median (default), hyperband, asha, none.")
@click.option("--name", default="", help="Name of the sweep.")
@click.option("--experiment", "-e", default="default", show_default=True, help="Experiment its runs go to.")
@click.option("--seed", type=click.IntRange(0), help="With one worker the same seed gives the same trials.")
@click.option("--resume", is_flag=True, help="Go on with the last sweep of this experiment and name, if there is one.")
@_limits
@verb
def run(
    target: tuple[str, ...], params: tuple[str, ...], space: str | None, metrics: tuple[str, ...], directions: tuple[str, ...], **given: Any
) -> None:
    """Tune TARGET: a function, as train.py:objective or package.module:objective, or behind -- a command.

    In a command {lr} stands for the param lr; without any such place --lr=VALUE is appended. The metric is what the command logs to
    its run with rung or MLflow's client, or what it prints, such as "loss: 0.3".

    \b
    Examples: rung tune train.py:objective -p lr=float:1e-4:0.1:log --metric loss --trials 50 --workers 2
              rung tune --space space.yaml --metric auc --direction maximize -- python train.py --lr {lr} --depth {depth}
    """
    from rung.client.tuning.command import Command  # noqa: PLC0415 - `rung --help` must not load the client
    from rung.client.tuning.space import parsed  # noqa: PLC0415

    ranges = {**(_file(space) if space else {}), **dict(parsed(text) for text in params)}
    if not ranges and not given["resume"]:
        raise click.UsageError("There is no space. Give -p NAME=RANGE, for example -p lr=float:1e-4:0.1:log, or --space FILE.")
    objective: Any = target[0] if _is_function(target) else Command(_command(target), metrics or ("objective",))
    _tune(objective, ranges or None, metric=metrics or None, direction=directions or None, **given)


@command.command("resume")
@click.argument("sweep")
@_limits
@verb
def resume(sweep: str, **given: Any) -> None:
    """Go on with a sweep: repeat what was broken off, and add trials up to --trials.

    \b
    Example: rung tune resume flights:12 --trials 100
    """
    _tune(None, None, resume=sweep, **given)


@command.command("status")
@click.option("--experiment", "-e", "experiments", multiple=True, help="Only sweeps of these experiments; repeatable.")
@click.option("--limit", default=20, show_default=True, help="How many.")
@verb
def status(experiments: tuple[str, ...], limit: int) -> None:
    """Sweeps, newest first, with how their trials ended and the best value.

    \b
    Example: rung tune status
    """
    from rung.client.tuning.sweep import sweep_of  # noqa: PLC0415 - see run

    page = client().tracking.search("tags.rung.kind = 'sweep'", experiments=experiments, limit=limit)
    found = [_summary(sweep_of(client(), item), f"{item.experiment}:{item.number}", item.name, rows=False) for item in page.items]
    if state().json:
        show(tuple(found))
    elif not found:
        click.echo("No sweeps yet. `rung tune train.py:objective -p lr=float:1e-4:0.1:log` makes one.")
    else:
        rows = [[item.run, item.name, item.status, item.trials, ", ".join(item.metrics), _values(item.best)] for item in found]
        table(["sweep", "name", "status", "trials", "metric", "best"], rows)


@command.command("show")
@click.argument("sweep")
@click.option("--limit", default=30, show_default=True, help="How many trials.")
@verb
def show_sweep(sweep: str, limit: int) -> None:
    """One sweep: its best trial, its trials, best first, and what mattered.

    \b
    Example: rung tune show flights:12
    """
    from rung.client.tuning.sweep import find, sweep_of  # noqa: PLC0415 - see run

    held = find(client(), sweep)
    _show(sweep_of(client(), held), f"{held.experiment}:{held.number}", held.name, limit)


@command.command("stop")
@click.argument("sweep")
@verb
def stop(sweep: str) -> None:
    """Let a sweep begin no more trials; those that go on are finished. `rung tune resume` goes on with it.

    \b
    Example: rung tune stop flights:12
    """
    from rung.client.tune import stop_sweep  # noqa: PLC0415 - see run

    held = stop_sweep(sweep, client=client())
    if state().json:
        show(_summary(held, sweep, "", rows=False))
    else:
        note(f"Sweep {sweep} ends when {held.states().get('running', 0)} running trials have.")


def _tune(objective: Any, space: dict[str, Any] | None, **given: Any) -> None:
    from rung.client.tune import tune  # noqa: PLC0415 - see run

    try:
        with redirect_stdout(sys.stderr):  # what objectives print is no part of the answer
            sweep = tune(objective, space, client=client(), listener=None if state().json else _say, **given)
    except KeyboardInterrupt:
        fail("The sweep was interrupted.", hint="`rung tune resume SWEEP` goes on with it; `rung tune status` lists sweeps.", code=130)
    held = client().tracking.get(sweep.id)
    _show(sweep, f"{held.experiment}:{held.number}", held.name, 10)
    if sweep.status == "failed":
        fail(held.error, hint=f"`rung tune show {held.experiment}:{held.number} --json` has the errors.", code=EXIT_FAILURE)


def _show(sweep: Sweep, name: str, title: str, limit: int) -> None:
    if state().json:
        show(_summary(sweep, name, title, rows=True))
        return
    click.secho(f"{name} {title}".rstrip(), bold=True)
    click.echo(f"{sweep.status}, {sweep.counts()}, {' and '.join(map(' '.join, zip(sweep.directions, sweep.metrics, strict=False)))}")
    best = _front(sweep)
    for row in best[:_MOST]:
        click.echo(f"best: trial {row.number}  {_values([row])}  {_params(row)}  run {row.run}")
    rows = sorted(sweep.rows, key=lambda row: (row not in best, row.state != "succeeded", _key(sweep, row), row.number))[:limit]
    names = list(dict.fromkeys(key for row in rows for key in row.params))
    if rows:
        cells = [
            [row.number, row.state, *row.values, *[row.params.get(key) for key in names], row.error.partition("\n")[0]] for row in rows
        ]
        table(["trial", "state", *sweep.metrics, *names, "error"], cells)
    if len(sweep.rows) > len(rows):
        note(f"{len(rows)} of {len(sweep.rows)} trials; --limit shows more.")


def _summary(sweep: Sweep, name: str, title: str, *, rows: bool) -> Any:
    from rung.client.tuning.records import SweepSummary  # noqa: PLC0415 - see run

    return SweepSummary(
        id=sweep.id, run=name, name=title, status=sweep.status, metrics=sweep.metrics, directions=sweep.directions, trials=sweep.states(),
        best=tuple(_front(sweep)), rows=sweep.rows if rows else (),
    )  # fmt: skip


def _front(sweep: Sweep) -> Sequence[TrialRow]:
    if not any(row.state == "succeeded" for row in sweep.rows):
        return ()
    return sweep.front if len(sweep.metrics) > 1 else (sweep.best,)


def _key(sweep: Sweep, row: TrialRow) -> float:
    value = row.values[0]
    return float("inf") if value is None else -value if sweep.directions[0] == "maximize" else value


def _say(row: TrialRow) -> None:
    """One line a trial."""
    mark, colour = _MARKS.get(row.state, ("·", "white"))
    seconds = (row.ended_at - row.started_at).total_seconds() if row.ended_at and row.started_at else 0.0
    told = _values([row]) if row.state != "failed" else row.error.partition("\n")[0]
    click.echo(f"  {click.style(mark, fg=colour)} trial {row.number:<4} {seconds:8.2f} s  {told}  {_params(row)}", err=True)


def _values(rows: Sequence[TrialRow]) -> str:
    return "; ".join(", ".join("–" if value is None else f"{value:.6g}" for value in row.values) for row in rows[:3])


def _params(row: TrialRow) -> str:
    return " ".join(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in row.params.items())


def _is_function(target: tuple[str, ...]) -> bool:
    """Whether one word names a function: ``train.py:objective``."""
    where, colon, name = target[0].rpartition(":")
    return len(target) == 1 and bool(colon) and name.isidentifier() and bool(where)


def _command(target: tuple[str, ...]) -> tuple[str, ...]:
    """A command; a script alone is run by this Python."""
    return (sys.executable, *target) if target[0].endswith(".py") else target


def _file(path: str) -> dict[str, Any]:
    """Ranges of a YAML file."""
    import yaml  # noqa: PLC0415 - see run

    from rung.client.tuning.space import space_of  # noqa: PLC0415
    from rung.core.errors import Invalid  # noqa: PLC0415

    with open(path, encoding="utf-8") as file:
        try:
            held = yaml.safe_load(file)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(
                f"{path} cannot be read as YAML: {error}", code="tuning.bad_space", hint="Write `lr: float:1e-4:0.1:log`."
            ) from None
    return dict(space_of(held or {}))
