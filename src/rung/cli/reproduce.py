"""``rung reproduce``: run a finished pipeline run again, compare every output, and say what has changed since."""

from __future__ import annotations

import sys
from typing import Any

import click

from rung.cli.frame import EXIT_FAILURE, client, note, show, state, verb
from rung.cli.watching import Watch

_COLOURS = {"identical": "green", "equivalent": "green", "different": "red", "": "yellow"}


@click.command("reproduce", short_help="Run a finished run again and compare.")
@click.argument("run", required=False)
@click.option("--all-deployed", is_flag=True, help="Reproduce the run behind every version deployed now, and file a report.")
@click.option("--environment", help="With --all-deployed: only deployments of this environment.")
@click.option("--list", "listed", is_flag=True, help="List reproductions, of RUN or of all runs, instead of making one.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=1e-9,
    show_default=True,
    help="Greatest relative difference of numbers that still count as equal; a step's own goes before it.",
)
@click.option("--with-effects", is_flag=True, help="Repeat steps that are run for their side effects (cache=False) too.")
@click.option("--repeat", "repeated", multiple=True, metavar="STEP", help="Repeat this step although it is cache=False; repeat for more.")
@click.option("--network", is_flag=True, help="Let the steps reach the network.")
@click.option("--rebuild", is_flag=True, help="Build the libraries anew from the lock even if those here are the recorded ones.")
@verb
def command(
    run: str | None,
    all_deployed: bool,  # noqa: FBT001
    environment: str | None,
    listed: bool,  # noqa: FBT001
    tolerance: float,
    with_effects: bool,  # noqa: FBT001
    repeated: tuple[str, ...],
    network: bool,  # noqa: FBT001
    rebuild: bool,  # noqa: FBT001
) -> None:
    """Execute a finished run again from its own code and libraries, isolated, without cache and network, and compare every output.

    Exits with 1 when an output is different.

    \b
    Examples: rung reproduce train:7
              rung reproduce train:7 --tolerance 1e-6 --repeat gather
              rung reproduce --all-deployed --environment production
    """
    pipelines = client().pipelines
    if listed:
        found = pipelines.reproductions(None if run is None else pipelines.get(run).run.id)
        show(
            found,
            ("pipeline", "number", "likeness", "first_diverging_step", "created_at", "created_by", "id"),
            empty="No reproductions yet.",
        )
        return
    if all_deployed == (run is not None):
        raise click.UsageError("Give either a run or --all-deployed.")
    listener = None if state().json else Watch()
    if all_deployed:
        _deployed(pipelines, tolerance, environment, listener)
        return
    answer = pipelines.reproduce(
        str(run), tolerance=tolerance, with_effects=with_effects, repeat=repeated, network=network, rebuild=rebuild, listener=listener
    )
    if state().json:
        show(answer)
    else:
        click.echo(pipelines.reproduction_text(answer.id), nl=False)
        where = f" from step {answer.first_diverging_step} on" if answer.first_diverging_step else ""
        click.secho(f"The reproduction is {answer.likeness}{where}.", fg=_COLOURS[answer.likeness])
        if answer.likeness != "identical":
            from rung.engine.reproducing.report import because  # noqa: PLC0415 - `rung --help` must not pay for it

            click.echo(f"Because {because(answer)}")
    if answer.likeness == "different":
        sys.exit(EXIT_FAILURE)


def _deployed(pipelines: Any, tolerance: float, environment: str | None, listener: Any) -> None:
    def told(version: Any, found: Any) -> None:
        note(f"{version.deployment}: {version.model}:{version.number} is {found.likeness if found else 'not reproduced'}.")

    report = pipelines.reproduce_deployed(tolerance=tolerance, environment=environment, told=told, listener=listener)
    if state().json:
        show(report)
    else:
        columns = (
            "version.deployment",
            "version.environment",
            "version.model",
            "version.number",
            "likeness",
            "first_diverging_step",
            "problem",
        )
        show(report.entries, columns, title="Deployed versions", empty="Nothing is deployed. `rung deploy` deploys a version.")
        for entry in report.entries:
            for change in entry.changes if entry.likeness == "different" else ():
                click.echo(
                    f"{entry.version.model}:{entry.version.number} {change.kind} {change.subject}: was {change.was}, is {change.now}"
                )
        verdict = "holds" if report.holds else "does not hold" if report.entries else "proves nothing: nothing is deployed"
        click.secho(f"Report {report.id} {verdict}; filed as {report.digest}.", fg="green" if report.holds else "red")
    if not report.holds:
        sys.exit(EXIT_FAILURE)
