"""``rung server``: API, UI and foreign protocols, without background work."""

from __future__ import annotations

import click

from rung.cli.frame import settings, verb


@click.command("server", short_help="Start API, UI and inference without the engine.")
@click.option("--port", type=int, help="Port to listen on; 0 picks a free one.")
@click.option("--behind-proxy", is_flag=True, help="Allow an address that is not loopback; TLS is the proxy's job.")
@verb
def command(port: int | None, behind_proxy: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Start API, UI and inference; runs are taken by `rung worker` processes.

    \b
    Example: rung --set storage.database=postgresql://rung@localhost/rung server
    """
    from rung.server.up import run  # noqa: PLC0415

    run(settings(), port=port, engine=False, allow_remote=behind_proxy, say=click.echo)
