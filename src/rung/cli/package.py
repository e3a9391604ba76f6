"""``rung package``: build, show, compare and carry packages of pipelines."""

from __future__ import annotations

from pathlib import Path

import click

from rung.cli.frame import DefaultGroup, client, note, show, state, verb

_COLUMNS = ("digest", "pipelines", "python", "lock_kind", "files", "size_bytes", "git_commit", "git_dirty", "created_at", "created_by")


class _Packages(DefaultGroup):
    default = "build"


@click.group("package", cls=_Packages, short_help="Package pipelines: code, lock and plan under one digest.")
def command() -> None:
    """Package pipelines of this folder: code, lock and plan under one digest, the same on every machine.

    \b
    Examples: rung package train
              rung package --out train.rungpkg
              rung package diff 3f9a2c 81be07
    """


@command.command("build")
@click.argument("pipelines", nargs=-1)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the package to this file as well.")
@click.option("--freeze", is_flag=True, help="In a folder without a lock, package the list of what is installed here.")
@verb
def build(pipelines: tuple[str, ...], out: Path | None, freeze: bool) -> None:  # noqa: FBT001
    """Build a package of these pipelines, or of all. Example: rung package build train --out train.rungpkg"""
    packages = client().packages
    package = packages.build(*pipelines, freeze=freeze)
    if out is not None:
        packages.export_to(package.digest, out)
        note(f"Written to {out}.")
    if state().json:
        show(package)
    else:
        click.echo(package.digest)
        note(f"{', '.join(package.pipelines)}: {package.files} files, {package.size_bytes} bytes, lock {package.lock_kind}.")
        note(f"`rung release {package.digest[7:19]} --to staging` runs it there.")


@command.command("list")
@click.argument("pipeline", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@verb
def list_(pipeline: str | None, limit: int) -> None:
    """Packages, newest first. Example: rung package list train"""
    show(client().packages.list(pipeline, limit=limit), _COLUMNS, empty="No packages yet. `rung package` builds one.")


@command.command("show")
@click.argument("package")
@verb
def show_(package: str) -> None:
    """A package, what is in it and where it was released. Example: rung package show 3f9a2c"""
    detail = client().packages.get(package)
    if state().json:
        show(detail)
        return
    show(detail.package, (*_COLUMNS, "lock", "rung", "origin"))
    for pipeline in detail.content.pipelines:
        show(pipeline.params, ("name", "type", "required", "default"), title=f"Parameters of {pipeline.name}", empty="No parameters.")
        show(pipeline.steps, ("key", "needs"), title=f"Steps of {pipeline.name}", empty="Its plan depends on its parameters.")
    columns = ("environment", "status", "pipeline", "created_at", "created_by", "pipeline_run")
    show(detail.releases, columns, title="Releases", empty="Never released.")
    click.echo("Files")
    for path, digest in detail.content.files.items():
        click.echo(f"  {digest[7:19]}  {path}")


@command.command("diff")
@click.argument("before")
@click.argument("after")
@verb
def diff(before: str, after: str) -> None:
    """In what two packages differ. Example: rung package diff 3f9a2c 81be07"""
    found = client().packages.diff(before, after)
    if state().json:
        show(found)
        return
    show(found.changes, ("what", "name", "before", "after"), empty="They are the same package.")


@command.command("export")
@click.argument("package")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@verb
def export(package: str, out: Path) -> None:
    """Write a package to a file. Example: rung package export 3f9a2c --out train.rungpkg"""
    written = client().packages.export_to(package, out)
    if state().json:
        show(client().packages.get(package).package)
    note(f"Written to {written}.")


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@verb
def import_(file: Path) -> None:
    """Take a package from a file, held against its digests. Example: rung package import train.rungpkg"""
    package = client().packages.import_from(file)
    if state().json:
        show(package)
    else:
        click.echo(package.digest)
