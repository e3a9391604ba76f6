"""``rung lineage``: what a thing came from, and what came from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rung.cli.frame import EXIT_USAGE, client, fail, show, state, verb

if TYPE_CHECKING:
    from rung.governance.records import Edge, Node, Trace


@click.command("lineage", short_help="What a thing came from, or what came from it.")
@click.argument("thing")
@click.option("--down", is_flag=True, help="What came from it, instead of what it came from.")
@click.option("--depth", default=30, show_default=True, help="How many steps to follow.")
@verb
def command(thing: str, down: bool, depth: int) -> None:  # noqa: FBT001 - click passes options by name
    """What THING came from; THING is a kind and an id, such as model_version=churn:3 or a bare prediction id.

    \b
    Example: rung lineage model_version=churn:3
    Example: rung lineage dataset_version=flights:2 --down
    """
    kind, equals, key = thing.partition("=")
    if not equals:
        kind, key = "prediction", thing
    if not key:
        fail(f"{thing!r} names no id.", hint="Write KIND=ID, for example model_version=churn:3.", code=EXIT_USAGE)
    if kind == "prediction":
        trace = client().serving.trace(key)
    else:
        trace = client().governance.trace(kind, key, direction="down" if down else "up", depth=depth)
    if state().json:
        show(trace)
        return
    for line in tree(trace, down=down):
        click.echo(line)


def tree(trace: Trace, *, down: bool) -> list[str]:
    """The trace as an indented tree; what was drawn before is named and not opened again."""
    reached: dict[Node, list[Edge]] = {}
    for edge in trace.edges:
        reached.setdefault(edge.source if down else edge.target, []).append(edge)
    lines, seen = [f"{trace.start.kind} {trace.start.id}"], {trace.start}

    def open_up(node: Node, indent: str) -> None:
        edges = reached.get(node, [])
        for index, edge in enumerate(edges):
            following = edge.target if down else edge.source
            last = index == len(edges) - 1
            again = following in seen
            lines.append(f"{indent}{'└─' if last else '├─'} {following.kind} {following.id}  ({edge.relation}){' ↑' if again else ''}")
            if not again:
                seen.add(following)
                open_up(following, indent + ("   " if last else "│  "))

    open_up(trace.start, "")
    return lines
