"""``rung attest``: sign what no record can prove."""

from __future__ import annotations

import click

from rung.cli.frame import client, show, verb


@click.command("attest", short_help="Sign a capability that no record can prove.")
@click.argument("criterion", required=False)
@click.option("--text", help="What you state, in a sentence.")
@click.option("--link", default="", help="Where it can be seen.")
@click.option("--not-applicable", is_flag=True, help="State that the criterion does not apply here.")
@click.option("--days", type=int, help="Days until the signature expires; default 180, for D06 and G05 365.")
@click.option("--withdraw", metavar="ID", help="Take a signature back.")
@verb
def command(criterion: str | None, text: str | None, link: str, not_applicable: bool, days: int | None, withdraw: str | None) -> None:  # noqa: FBT001
    """Sign that a capability holds; without arguments, list the signatures.

    \b
    Example: rung attest H01 --text "Both roles review every merge to the pipeline code."
    """
    verbs = client().maturity
    if withdraw:
        show(verbs.withdraw_attestation(withdraw))
    elif criterion is None:
        show(
            verbs.attestations(),
            ("id", "criterion", "status", "signed_by", "signed_at", "expires_at", "withdrawn_at"),
            empty="No signatures.",
        )
    elif not text:
        raise click.UsageError("A signature needs --text.")
    else:
        show(verbs.attest(criterion.upper(), text, link=link, status="n.a." if not_applicable else "attested", days=days))
