"""``rung import``: bring what another tool tracked."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rung.cli.frame import EXIT_USAGE, client, fail, note, settings, show, state, table, verb

if TYPE_CHECKING:
    from rung.client.importing.copying import ImportReport, Progress

_SHOWN = 20


@click.group("import", short_help="Bring runs and models from MLflow, pipelines from DVC.")
def command() -> None:
    """Bring what another tool tracked."""


@command.command("mlflow")
@click.argument("uri")
@click.option(
    "--artifacts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the artifacts, as the server's --artifacts-destination.",
)
@click.option("--experiments", "-e", multiple=True, help="Only this experiment, by name or id; repeatable. Leaves registered models out.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="Only runs begun at or after this instant (UTC).")
@click.option("--no-artifacts", is_flag=True, help="Leave files out.")
@click.option("--again", is_flag=True, help="Send everything once more, also what is whole.")
@click.option("--dry-run", is_flag=True, help="Only say what there is.")
@verb
def mlflow(uri: str, artifacts: Path | None, experiments: tuple[str, ...], since: object, **flags: bool) -> None:
    """Copy experiments, runs, metrics, artifacts and registered models from URI: a server, its database, or a folder mlruns.

    A server is asked with MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD. Ids, numbers and
    instants are kept. An import that was broken off goes on where it was; at the end both sides are counted, and what is
    missing is named with exit code 1.

    \b
    Example: rung import mlflow sqlite:///mlflow.db
    """
    from datetime import UTC, datetime  # noqa: PLC0415 - as all below: `rung --help` must not pay for it

    from rung.client.importing.copying import Copier  # noqa: PLC0415
    from rung.client.importing.journal import Journal  # noqa: PLC0415
    from rung.client.importing.opening import open_source  # noqa: PLC0415
    from rung.core.digests import digest_of  # noqa: PLC0415

    since_ms = int(since.replace(tzinfo=UTC).timestamp() * 1000) if isinstance(since, datetime) else None
    source = open_source(uri, artifacts, os.environ)
    held = settings()
    name = digest_of("\n".join((source.name, held.url, held.project)).encode())[-32:]
    journal = Journal(held.home_path / "imports" / f"{name}.db")
    try:
        copier = Copier(source, client().transport, journal, _progress(), again=flags["again"])
        if flags["dry_run"]:
            report = copier.look(experiments, since_ms)
        else:
            report = copier.copy(experiments, since_ms, artifacts=not flags["no_artifacts"])
    finally:
        journal.close()
        source.close()
    _told(report)
    if report.differences:
        sys.exit(1)


@command.command("dvc")
@click.argument("path", type=click.Path(exists=True, path_type=Path), default=".")
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="Module to write; pipelines.py beside dvc.yaml otherwise."
)
@click.option("--name", default="repro", show_default=True, help="Name of the pipeline.")
@click.option("--force", is_flag=True, help="Write over a module that this command did not make.")
@verb
def dvc(path: Path, out: Path | None, name: str, force: bool) -> None:  # noqa: FBT001
    """Turn the stages of a dvc.yaml (PATH, or in the folder PATH) into a pipeline: Python source that is yours from then on.

    foreach and matrix are written out. Parameters and the variables of commands stay in their files and are read at every run;
    a variable that shapes the stages, such as the name of an output, asks for a new import when it changes. Commands run as they
    are written, in the folder, and leave their outputs there.

    \b
    Example: rung import dvc && rung run repro
    """
    from rung.protocols.exchange.dvc import read_stages  # noqa: PLC0415 - see mlflow
    from rung.protocols.exchange.dvc_source import MARK, source_of  # noqa: PLC0415

    file = path / "dvc.yaml" if path.is_dir() else path
    repository = read_stages(file)
    module = out or file.parent / "pipelines.py"
    if module.exists() and MARK not in module.read_text("utf-8") and not force:
        fail(f"{module} is there already.", hint="Name another module: -o dvc_stages.py, and add it to `pipelines` in rung.toml.")
    if module.resolve().parent != file.resolve().parent:
        fail(f"{module} does not lie beside {file}.", hint="Stages run in the folder of their module.", code=EXIT_USAGE)
    module.write_text(source_of(repository, name), "utf-8")
    if state().json:
        show(repository.stages)
    for text in repository.notes:
        note(text)
    note(f"{len(repository.stages)} stages in {module}. `rung run {name}` runs what is out of date.")


def _told(report: ImportReport) -> None:
    if state().json:
        show(report)
        return
    if report.dry:
        table(["kind", "there"], [[kind.replace("_", " "), count] for kind, count in report.found.items() if count])
    else:
        rows = [[kind.replace("_", " "), count, report.here[kind]] for kind, count in report.found.items() if count or report.here[kind]]
        table(["kind", "there", "here"], rows, title=report.source)
    if report.skipped:
        note(f"{report.skipped} were whole already.")
    for title, texts in (("changed on the way", report.notes), ("missing here", report.differences)):
        if texts:
            note(f"{len(texts)} {title}:")
            for text in texts[:_SHOWN]:
                note(f"  {text}")
            if len(texts) > _SHOWN:
                note(f"  … and {len(texts) - _SHOWN} more; --json tells all.")


def _progress() -> Progress | None:
    if state().json or not sys.stderr.isatty():
        return None

    def step(text: str, done: int, total: int | None) -> None:
        click.echo(f"\r\x1b[K{text[:60]}: {done}{f' of {total}' if total is not None else ''} runs", nl=False, err=True)
        if done == total:
            click.echo(err=True)

    return step
