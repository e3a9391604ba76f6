"""``rung release``: run a package in an environment, and see whether production ran what staging proved."""

from __future__ import annotations

import sys

import click

from rung.cli.frame import EXIT_FAILURE, EXIT_NOT_MET, DefaultGroup, client, fail, note, show, state, verb
from rung.cli.run import _parsed
from rung.cli.watching import Watch

_COLUMNS = (
    "environment",
    "pipeline",
    "package",
    "status",
    "created_at",
    "created_by",
    "approved_by",
    "override_reason",
    "pipeline_run",
    "id",
)
_TO = click.option("--to", "environment", required=True, help="The environment: staging, production or one of rung.toml.")


class _Releases(DefaultGroup):
    default = "run"


@click.group("release", cls=_Releases, short_help="Run a package in staging, then the same digest in production.")
def command() -> None:
    """Run a package in an environment; production takes only what has succeeded in staging.

    \b
    Examples: rung release 3f9a2c --to staging
              rung release 3f9a2c --to production -p year=2013
              rung release check
    """


@command.command("run")
@click.argument("package")
@_TO
@click.option("--pipeline", help="Which pipeline of the package; needed where it has several.")
@click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the pipeline; repeat for more.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--override", "override_reason", default="", metavar="REASON", help="Release what has not succeeded before; kept with the release."
)
@click.option("--detach", is_flag=True, help="Only queue the run; a worker executes it.")
@verb
def run(
    package: str, environment: str, pipeline: str | None, params: tuple[str, ...], seed: int, override_reason: str, detach: bool  # noqa: FBT001
) -> None:  # fmt: skip
    """Run a package in an environment. Example: rung release run 3f9a2c --to staging"""
    packages = client().packages
    release = packages.release(
        package, environment, pipeline=pipeline, params=_parsed(params), seed=seed, override_reason=override_reason, wait=not detach,
        listener=None if state().json else Watch(),
    )  # fmt: skip
    if state().json:
        show(release)
    else:
        click.echo(f"{release.package[7:19]} {release.status} in {release.environment}: run {release.pipeline_run}")
        for rule in release.overridden:
            note(f"Overridden: {rule} Reason: {release.override_reason}")
    if release.status in {"failed", "cancelled"}:
        fail(
            f"The run in {environment} {release.status}.",
            hint=f"`rung pipeline status {release.pipeline_run}` says why.",
            code=EXIT_FAILURE,
        )


@command.command("list")
@click.argument("package", required=False)
@click.option("--pipeline")
@click.option("--environment")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@verb
def list_(package: str | None, pipeline: str | None, environment: str | None, limit: int) -> None:
    """Releases, newest first. Example: rung release list --environment production"""
    found = client().packages.releases(package, pipeline=pipeline, environment=environment, limit=limit)
    show(found, _COLUMNS, empty="No releases yet. `rung release DIGEST --to staging` makes the first.")


@command.command("check")
@click.option("--environment", default="production", show_default=True)
@click.option("--pipeline")
@verb
def check(environment: str, pipeline: str | None) -> None:
    """Whether what ran in production is what had succeeded in staging; exits with 3 if not. Example: rung release check"""
    report = client().packages.check(environment, pipeline=pipeline)
    if state().json:
        show(report)
    else:
        columns = ("pipeline", "number", "package", "reason", "override_reason", "at", "pipeline_run")
        show(
            report.asymmetries, columns, empty=f"All {report.runs} runs in {report.environment} used what had succeeded in {report.before}."
        )
    if not report.holds:
        sys.exit(EXIT_NOT_MET)


@command.command("approve")
@click.argument("package")
@_TO
@click.option("--comment", default="")
@verb
def approve(package: str, environment: str, comment: str) -> None:
    """Approve a package of somebody else for an environment. Example: rung release approve 3f9a2c --to production"""
    show(client().packages.approve(package, environment, comment=comment))


@command.command("reject")
@click.argument("package")
@_TO
@click.option("--comment", required=True, help="Why.")
@verb
def reject(package: str, environment: str, comment: str) -> None:
    """Say no to a package in an environment. Example: rung release reject 3f9a2c --to production --comment "wrong data" """
    show(client().packages.reject(package, environment, comment=comment))


@command.command("revoke")
@click.argument("approval")
@verb
def revoke(approval: str) -> None:
    """Take an approval or rejection back. Example: rung release revoke 0193b2c4d5e67f8091a2b3c4d5e6f708"""
    show(client().packages.revoke(approval))


@command.command("approvals")
@click.argument("package")
@_TO
@verb
def approvals(package: str, environment: str) -> None:
    """Approvals of a package, and what is missing. Example: rung release approvals 3f9a2c --to production"""
    found = client().packages.approvals(package, environment)
    if state().json:
        show(found)
        return
    show(found.approvals, ("by", "rejected", "comment", "created_at", "revoked_at", "id"), empty="None yet.")
    click.echo(found.missing or f"It has the {found.needed} approvals it needs.")
