"""``rung serve``: inference only."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rung.cli.frame import settings, verb


@click.command("serve", short_help="Start inference alone, without API, UI and engine.")
@click.option("--port", type=int, help="Port to listen on; 0 picks a free one.")
@click.option("--workers", type=click.IntRange(0, 256), help="Processes that answer on the port; 0: this one, without a supervisor.")
@click.option("--bundle", type=click.Path(file_okay=False, path_type=Path), help="Answer for this bundle, without a platform.")
@click.option(
    "--platform", default="", metavar="URL", help="Follow this platform as an inference node; RUNG_URL otherwise. Its token is RUNG_TOKEN."
)
@click.option("--deployment", "deployments", multiple=True, help="Follow only this deployment; may be given several times.")
@click.option("--environment", help="Follow only deployments of this environment.")
@click.option("--behind-proxy", is_flag=True, help="Allow an address that is not loopback; TLS is the proxy's job.")
@verb
def command(
    port: int | None, workers: int | None, bundle: Path | None, platform: str, deployments: tuple[str, ...], environment: str | None,
    behind_proxy: bool,  # noqa: FBT001 - click passes options by name
) -> None:  # fmt: skip
    """Answer inference for what is deployed, nothing else; SIGTERM ends it in order.

    With --workers a supervisor starts that many processes on one port, restarts one that died, and on SIGHUP replaces
    them one at a time by processes that have loaded everything anew, without a failed request.

    With --bundle (made by rung export deployment) the home is made of the bundle on the first start, and callers bring the
    token of RUNG_SERVE_TOKEN, or none with RUNG_SERVING_OPEN=true.

    With --platform, or RUNG_URL and no storage.database, it is an inference node: it follows the deployments of the token's
    project over HTTP, keeps what it needs in its home, ships its prediction log, and goes on while the platform is away.

    \b
    Examples: rung serve --port 8081 --workers 4
              RUNG_TOKEN=… rung serve --platform https://rung.example.com --environment production
              RUNG_SERVE_TOKEN=secret RUNG_HOME=/tmp/churn rung serve --bundle deploy/churn/bundle
    """
    from rung.server.serving.running import run_serving  # noqa: PLC0415 - `rung --help` must not pay for it

    held = settings()
    if bundle is not None:
        from rung.app.bundle import unpacked  # noqa: PLC0415 - `rung --help` must not pay for it

        unpacked(bundle, held)
    count = held.serving.workers if workers is None else workers
    sys.exit(
        run_serving(
            held,
            port=port,
            workers=count,
            allow_remote=behind_proxy,
            say=click.echo,
            platform=None if bundle else platform,
            deployments=deployments,
            environment=environment,
        )
    )
