"""``rung graph``: what happens to rows before, beside and after a deployment's model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rung.cli.endpoint import show_revision
from rung.cli.frame import cell, client, note, show, state, table, verb


@click.group("graph", short_help="Pre- and post-processing, lookups, ensembles, switches, fallbacks, limits of a deployment.")
def command() -> None:
    """What happens to rows before, beside and after a deployment's model. Example: rung graph set churn graph.toml"""


@command.command("set")
@click.argument("deployment")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--reason", default="", help="Why; kept with the revision.")
@verb
def set_graph(deployment: str, file: Path, reason: str) -> None:
    """Give a deployment the graph of a TOML or JSON file; it is checked first, and a rollback takes it back.

    \b
    Example: rung graph set churn graph.toml --reason "block big transfers"
    """
    revision = client().serving.set_graph(deployment, file, reason=reason)
    if state().json:
        show(revision)
        return
    note(f"Revision {revision.number} of {deployment} answers by the graph.")
    _drawn(revision.options.graph)


@command.command("clear")
@click.argument("deployment")
@click.option("--reason", default="", help="Why; kept with the revision.")
@verb
def clear(deployment: str, reason: str) -> None:
    """Take the graph away: the deployment's version answers alone.

    \b
    Example: rung graph clear churn
    """
    show_revision(client().serving.set_graph(deployment, {"nodes": []}, reason=reason))


@command.command("show")
@click.argument("deployment")
@verb
def show_graph(deployment: str) -> None:
    """Draw a deployment's graph.

    \b
    Example: rung graph show churn
    """
    graph = client().serving.get(deployment).options.graph
    if state().json:
        from rung.serving.options import GraphOptions  # noqa: PLC0415 - `rung --help` must not pay for it

        show(graph or GraphOptions())
        return
    _drawn(graph)


@command.command("try")
@click.argument("deployment")
@click.argument("row")
@click.option("--graph", "file", type=click.Path(dir_okay=False, path_type=Path), help="A graph that is not set yet.")
@verb
def try_graph(deployment: str, row: str, file: Path | None) -> None:
    """Answer one row, and show what each node gave. Nothing is logged and no action is counted. ROW is JSON, or @FILE.

    \b
    Example: rung graph try churn '{"amount": 120.5, "customer": 7}' --graph graph.toml
    """
    found = client().serving.try_graph(deployment, _row(row), graph=file)
    if state().json:
        show(found)
        return
    rows = [(node.node, node.kind, node.score, _listed(node.columns), f"{node.us:.0f} µs") for node in found.nodes]
    table(("node", "kind", "score", "columns", "time"), rows)
    click.echo(f"score  {cell(found.score)}")
    if found.columns:
        click.echo(f"answer {_listed(found.columns)}")
    if found.flags:
        click.echo(f"flags  {', '.join(found.flags)}")


def _drawn(graph: Any) -> None:
    from rung.serving.graph.drawing import text  # noqa: PLC0415 - as above

    click.echo(text(graph), nl=False)


def _listed(columns: dict[str, Any]) -> str:
    return ", ".join(f"{name}={cell(value)}" for name, value in columns.items())


def _row(text: str) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 - as above

    from rung.core.errors import Invalid  # noqa: PLC0415 - as above

    try:
        given = Path(text[1:]).read_text("utf-8") if text.startswith("@") else text
        found = msgspec.json.decode(given)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise Invalid(f"The row cannot be read: {error}.", code="graph.bad_row", hint='Write JSON: {"amount": 120.5}.') from None
    if not isinstance(found, dict):
        raise Invalid("The row is no JSON object.", code="graph.bad_row", hint='Write {"amount": 120.5}.')
    return found
