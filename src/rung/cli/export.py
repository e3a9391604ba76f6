"""``rung export``: pipelines, their runs and deployments in the words of other systems."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rung.cli.frame import client, note, settings, verb

_OUT = click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; standard output otherwise.")


@click.group("export", short_help="Pipelines, deployments and lineage for other systems.")
def command() -> None:
    """Hand pipelines and what is known of their runs to other systems. Example: rung export pipeline train --to kfp -o train.yaml"""


@command.command("pipeline")
@click.argument("name")
@click.option("--to", type=click.Choice(["kfp", "airflow", "kubernetes"]), required=True, help="What is to run it.")
@click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE", help="Another default for a parameter; repeat for more.")
@click.option("--image", default="python:3.11", show_default=True, help="kfp, kubernetes: image with rung, the libraries and the project.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="kfp: seed from which each step's is derived."
)
@click.option("--embed-code", is_flag=True, help="kfp: put the project's files into the steps, so that the image needs no project.")
@click.option("--cron", help="airflow: schedule, e.g. '0 6 * * 1'.")
@_OUT
@verb
def pipeline(name: str, to: str, params: tuple[str, ...], out: Path | None, **given: Any) -> None:
    """Write a pipeline of this folder for another engine.

    \b
    Examples: rung export pipeline train --to kfp -o train.yaml
              rung export pipeline train --to airflow --cron "0 6 * * 1" -o dags/train.py
    """
    from rung.cli.run import _parsed  # noqa: PLC0415 - as all below: `rung --help` must not pay for it
    from rung.pipelines.project import load_project  # noqa: PLC0415
    from rung.protocols.exchange.writing import written  # noqa: PLC0415

    project = load_project(settings())
    text, notes = written(to, project, project.pipeline(name), _parsed(params), given)
    for line in notes:
        note(line)
    _write(text, out)


@command.command("deployment")
@click.argument("name")
@click.option(
    "--to",
    type=click.Choice(["docker", "kubernetes", "kserve", "sagemaker", "vertex", "azureml"]),
    required=True,
    help="What is to run it.",
)
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write; new or empty.")
@click.option("--image", default="", help="Name the image will have; default NAME:REVISION.")
@click.option("--name", "short", default="", help="Another name for it there.")
@click.option("--namespace", default="default", show_default=True, help="kubernetes, kserve: where it lives.")
@click.option("--replicas", default="2-6", show_default=True, metavar="LEAST-MOST", help="How many are run side by side.")
@verb
def deployment(name: str, to: str, out: Path, image: str, short: str, namespace: str, replicas: str) -> None:
    """Write a deployment for another system: a bundle that serves without a platform, its image, and manifests.

    \b
    Examples: rung export deployment churn --to kubernetes --out deploy/churn --image registry.local/churn:4
              rung export deployment churn --to sagemaker --out deploy/churn
    """
    from rung.protocols.exchange.bundling import export_deployment  # noqa: PLC0415 - as above

    least, _, most = replicas.partition("-")
    if not least.isdigit() or not (most or least).isdigit():
        raise click.UsageError(f"--replicas is LEAST-MOST, as in 2-6, not {replicas!r}.")
    bounds = (int(least), int(most or least))
    paths = export_deployment(client(), name, to, out, image=image, name=short, namespace=namespace, replicas=bounds)
    note(f"Wrote {', '.join(paths)} to {out}.")


@command.command("pipeline-run")
@click.argument("runs", nargs=-1, required=True)
@click.option("--to", type=click.Choice(["openlineage", "mlmd"]), required=True, help="In whose words.")
@click.option("--namespace", help="openlineage: namespace of jobs and datasets; default that of [openlineage] in rung.toml.")
@click.option("--post", is_flag=True, help="openlineage: send the events to [openlineage] url of rung.toml instead of writing them.")
@_OUT
@verb
def pipeline_run(runs: tuple[str, ...], to: str, namespace: str | None, post: bool, out: Path | None) -> None:  # noqa: FBT001
    """Tell what is known of pipeline runs: OpenLineage events, one a line, or a store of ML Metadata (SQLite).

    \b
    Examples: rung export pipeline-run train:3 --to openlineage
              rung export pipeline-run train:3 train:4 --to mlmd -o lineage.db
    """
    from rung.engine.history import history_of  # noqa: PLC0415 - as above

    histories = [history_of(client().transport, run) for run in runs]
    if to == "mlmd":
        if out is None:
            raise click.UsageError("A store of ML Metadata is a file: give -o FILE.")
        from rung.protocols.exchange.mlmd import write_store  # noqa: PLC0415

        note(f"{write_store(out, histories)} executions in {out}.")
        return
    import msgspec  # noqa: PLC0415

    from rung.engine.lineage_mail import post as send  # noqa: PLC0415
    from rung.engine.openlineage import run_events  # noqa: PLC0415

    held = settings().openlineage
    events = [event for history in histories for event in run_events(history, namespace or held.namespace)]
    if not post:
        _write("".join(msgspec.json.encode(event).decode() + "\n" for event in events), out)
        return
    if not held.url:
        raise click.UsageError("No receiver is set: [openlineage] url in rung.toml.")
    for event in events:
        send(held, event)
    note(f"{len(events)} events were taken by {held.url}.")


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, "utf-8")
    note(f"Wrote {out}.")
