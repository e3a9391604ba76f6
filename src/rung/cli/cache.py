"""``rung cache``: results of steps that runs need not make again."""

from __future__ import annotations

import click

from rung.cli.frame import client, note, show, state, verb


@click.group("cache", short_help="Results of steps that are kept.")
def command() -> None:
    """Results of steps that runs need not make again. Example: rung cache list"""


@command.command("list")
@click.option("--step", help="Only results of this step.")
@click.option("--pipeline", help="Only results that runs of this pipeline made.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@verb
def list_(step: str | None, pipeline: str | None, limit: int) -> None:
    """What the cache holds, newest first. Example: rung cache list --step fit"""
    found = client().cache.list(step=step, pipeline=pipeline, limit=limit)
    show(found, ("step", "pipeline", "number", "created_at", "size_bytes", "cache_key"), empty="Nothing yet. `rung run` fills it.")


@command.command("show")
@click.argument("key")
@verb
def show_(key: str) -> None:
    """A result and the parts of its key. Example: rung cache show 3f9a2c"""
    found = client().cache.get(key)
    if state().json:
        show(found)
        return
    show(found.result, ("step", "pipeline", "number", "created_at", "cache_key", "step_run"))
    show(found.result.outputs, ("name", "kind", "digest", "size_bytes"), title="Outputs")
    click.secho("Key", bold=True)
    for name, value in found.parts.items():
        if value or value == 0:
            click.echo(f"{name}: {_told(value)}")
    for name, value in sorted(found.details.get(found.parts.get("code", ""), {}).get("units", {}).items()):
        click.echo(f"  {name} {str(value).removeprefix('blake3:')[:12]}")
    for name, value in sorted(found.details.get(found.parts.get("environment", ""), {}).get("libraries", {}).items()):
        click.echo(f"  {name} {value}")


@command.command("clear")
@click.option("--step", help="Only results of this step.")
@click.option("--pipeline", help="Only results that runs of this pipeline made.")
@click.option("--key", help="Only this one, by its first digits.")
@click.option("--all", "everything", is_flag=True, help="Every result of the project.")
@verb
def clear(step: str | None, pipeline: str | None, key: str | None, everything: bool) -> None:  # noqa: FBT001
    """Drop results; the steps run when they are asked for again. Example: rung cache clear --step fit"""
    if not everything and step is None and pipeline is None and key is None:
        raise click.UsageError("Say what to drop: --step, --pipeline, --key or --all.")
    count = client().cache.clear(step=step, pipeline=pipeline, cache_key=key)
    if state().json:
        show({"count": count})
    note(f"Dropped {count} results.")


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_told(item)}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(_told(item) for item in value if item not in ({}, []))
    text = str(value)
    return text.removeprefix("blake3:")[:12] if text.startswith("blake3:") else text
