"""``rung step``: single steps of a pipeline."""

from __future__ import annotations

import click

from rung.cli.frame import EXIT_FAILURE, client, fail, note, show, state, verb


@click.group("step", short_help="Single steps of a pipeline.")
def command() -> None:
    """Single steps of a pipeline. Example: rung step run train fit --run 2026-01-01"""


@command.command("run")
@click.argument("pipeline")
@click.argument("step")
@click.option("--run", "key", required=True, help="Any word that names the run; its steps are asked for under the same one.")
@click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the pipeline; the same for every step.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the run.")
@click.option("--scheduler", default="", help="Who asks, for the record.")
@verb
def run(pipeline: str, step: str, key: str, params: tuple[str, ...], seed: int, scheduler: str) -> None:
    """Execute one step of a run, for another scheduler such as Airflow; what has ended, or is cached, is not executed again.

    \b
    Example: rung step run train fit --run 2026-01-01 -p lr=0.2
    """
    from rung.cli.run import _parsed  # noqa: PLC0415 - as below: `rung --help` must not pay for it
    from rung.cli.watching import Watch  # noqa: PLC0415
    from rung.client.stepping import run_step  # noqa: PLC0415

    held = client()
    listener = None if state().json else Watch()
    identity, found = run_step(held.transport, pipeline, step, key, _parsed(params), seed=seed, scheduler=scheduler, listener=listener)
    if state().json:
        show(found)
    else:
        log = held.pipelines.log(identity, step).text if found.attempts else ""
        click.echo(log, nl=False)
        note(f"Step {step} of run {identity}: {found.status}. {found.reason}")
    if found.status not in {"succeeded", "cached", "skipped"}:
        fail(found.error or f"Step {step} was {found.status}.", code=EXIT_FAILURE)


@command.command("from-notebook")
@click.argument("notebook", type=click.Path(dir_okay=False))
@click.argument("cell")
@click.option("--name", required=True, help="What the step is called.")
@click.option("--to", "module", type=click.Path(dir_okay=False), help="Module to add it to, made if there is none; without, it is printed.")
@verb
def from_notebook(notebook: str, cell: str, name: str, module: str | None) -> None:
    """Make a step of a notebook's cell: CELL is its number among the code cells, its id or a tag.

    What it takes from earlier cells becomes its inputs, what later cells take from it its outputs; imports and functions
    it needs come along. Nothing is run.

    \b
    Example: rung step from-notebook explore.ipynb 4 --name train --to pipelines.py
    """
    from pathlib import Path  # noqa: PLC0415 - as in run()

    from rung.pipelines.notebooks import find_cell, read_notebook  # noqa: PLC0415
    from rung.pipelines.promoting import added, promoted  # noqa: PLC0415

    cells = read_notebook(Path(notebook))
    found = promoted(cells, find_cell(cells, cell), name)
    if module is not None:
        target = Path(module)
        text = added(target.read_text("utf-8") if target.is_file() else "", found)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        note(f"Added to {target}. In a pipeline: {found.call}")
    if state().json:
        show(found)
    elif module is None:
        click.echo(found.module, nl=False)
