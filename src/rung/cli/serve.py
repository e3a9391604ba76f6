"""``rung serve``: inference only."""

from __future__ import annotations

import click

from rung.cli.frame import settings, verb


@click.command("serve", short_help="Start inference alone, without API, UI and engine.")
@click.option("--port", type=int, help="Port to listen on; 0 picks a free one.")
@click.option("--behind-proxy", is_flag=True, help="Allow an address that is not loopback; TLS is the proxy's job.")
@verb
def command(port: int | None, behind_proxy: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Start an inference process: Open Inference v2 and /invocations for what is deployed, nothing else.

    \b
    Example: rung serve --port 8081
    """
    from rung.server.up import run  # noqa: PLC0415

    run(settings(), port=port, engine=False, allow_remote=behind_proxy, say=click.echo, inference_only=True)
