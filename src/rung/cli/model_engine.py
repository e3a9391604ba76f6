"""``rung model engine``: what serves a version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rung.cli.frame import client, note, show, state, verb

if TYPE_CHECKING:
    from rung.registry.records import ServingEngine

_FIELDS = (
    "engine",
    "largest_difference",
    "rows",
    "cost_us",
    "native_us",
    "size_bytes",
    "artifact",
    "compiled_part",
    "compiled_at",
    "reason",
)


@click.command("engine")
@click.argument("model")
@click.argument("number", type=int)
@click.option("--compile", "again", is_flag=True, help="Compile it anew, by the fastest engine that agrees with the model.")
@click.option(
    "--with", "which", default="", metavar="ENGINE", help="Compile it with this engine; native: serve by the model's own library."
)
@verb
def engine(model: str, number: int, which: str, *, again: bool) -> None:
    """What serves a version: engine, largest difference to the model's own library, microseconds for a row of both.

    \b
    Example: rung model engine late-flights 3 --compile
    """
    held = client().registry
    found = held.compile(model, number, engine=which) if again or which else held.engine(model, number)
    show(found, [name for name in _FIELDS if getattr(found, name) not in ("", None, 0)] if not state().json else None)
    if not state().json:
        note(f"{model}:{number} is served by {told(found)}")
        if again or which:
            note("Deployments that serve it follow as soon as an engine runs; at once: rung endpoint reload NAME")


def told(found: ServingEngine) -> str:
    """One sentence about an engine."""
    if found.engine == "native":
        return f"the model's own library. {found.reason}"
    times = f", {found.native_us / found.cost_us:,.0f} times faster than the model's own library" if found.cost_us else ""
    return f"the engine {found.engine}{times}; largest difference {found.largest_difference:.2g} over {found.rows:,} rows."
