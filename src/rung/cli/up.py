"""``rung up``: server, engine and inference in one process."""

from __future__ import annotations

import click

from rung.cli.frame import settings, verb


@click.command("up", short_help="Start everything: API, UI, engine and inference.")
@click.option("--port", type=int, help="Port to listen on; 0 picks a free one.")
@click.option("--no-engine", is_flag=True, help="Only serve; run no background work.")
@click.option("--behind-proxy", is_flag=True, help="Allow an address that is not loopback; TLS is the proxy's job.")
@click.option("--no-auth", is_flag=True, help="Let everybody on this machine in without a token; only on loopback.")
@verb
def command(port: int | None, no_engine: bool, behind_proxy: bool, no_auth: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Start everything in one process: API, UI, engine and inference. Ends with Ctrl-C.

    \b
    Example: rung up --port 8080
    """
    from rung.server.up import run  # noqa: PLC0415

    run(settings(), port=port, engine=not no_engine, allow_remote=behind_proxy, say=click.echo, no_auth=no_auth)
