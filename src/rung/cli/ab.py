"""``rung ab``: versions of a deployment compared by what their labelled rows earn."""

from __future__ import annotations

import click

from rung.cli.deploy import model_of, share_of
from rung.cli.endpoint import show_revision, value_of
from rung.cli.frame import EXIT_USAGE, client, fail, note, show, state, table, verb


@click.group("ab", short_help="A/B tests and bandits of a deployment.")
def command() -> None:
    """A/B tests and bandits of a deployment, by the rewards of labelled rows; to be looked at any time."""


@command.command("start")
@click.argument("name")
@click.argument("arms", nargs=-1, required=True, metavar="MODEL:N=SHARE...")
@click.option("--policy", default="split", show_default=True, help="split, or a bandit: epsilon_greedy, thompson.")
@click.option("--setting", "settings", multiple=True, metavar="KEY=VALUE", help="Setting of the policy, e.g. epsilon=0.1.")
@click.option("--reward", type=click.Choice(["label", "correct", "squared_error", "value"]), default="correct", show_default=True)
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Chance of ever calling equal arms different.")
@click.option(
    "--planned-rows", type=int, default=10_000, show_default=True, help="Labelled rows an arm at which the interval is narrowest."
)
@click.option("--sticky", help="Input column or request parameter that keeps a caller with its arm.")
@click.option("--reason", default="", help="Why; kept with the revision.")
@click.option("--override", "override_reason", default="", help="Start without passing verdicts, for this reason.")
@verb
def start(
    name: str, arms: tuple[str, ...], policy: str, settings: tuple[str, ...], reward: str, alpha: float, planned_rows: int,
    sticky: str | None, reason: str, override_reason: str,
) -> None:  # fmt: skip
    """Begin an A/B test beside the stable version, which keeps the rest; with the reward value, money comes from the value matrix.

    \b
    Example: rung ab start churn churn:4=50%
    Example: rung ab start churn churn:4=20% churn:5=20% --policy thompson --reward value
    """
    from rung.serving.ab_records import ArmWish  # noqa: PLC0415 - the CLI starts without it

    wishes = []
    for arm in arms:
        version, equals, share = arm.partition("=")
        model, number, _ = model_of(version)
        if not equals or number is None:
            fail(f"{arm!r} is not an arm.", hint="Write MODEL:N=SHARE, such as churn:4=50%.", code=EXIT_USAGE)
        wishes.append(ArmWish(model=model, number=number, share=share_of(share)))
    ours = client()
    values: dict[str, float] = {}
    if reward == "value":
        matrix = ours.value.matrix(wishes[0].model)
        values = {cell: getattr(matrix, cell) for cell in ("tp", "fp", "fn", "tn")}
    test = ours.serving.start_ab(
        name, wishes, policy=policy, settings=_settings(settings), reward=reward, values=values, alpha=alpha, planned_rows=planned_rows,  # type: ignore[arg-type]  # one of the choices
        sticky=sticky, reason=reason, override_reason=override_reason,
    )  # fmt: skip
    show(test, ("deployment", "arms", "policy", "reward", "state"))
    note(f"Look at it whenever you like: rung ab show {name}")


@command.command("show")
@click.argument("name")
@click.option("--look", is_flag=True, help="Look now, with the labels known now.")
@verb
def show_test(name: str, look: bool) -> None:  # noqa: FBT001 - click passes options by name
    """The newest A/B test: what every arm earned, with an interval that holds at any time.

    \b
    Example: rung ab show churn
    """
    verbs = client().serving
    test = verbs.look_at_ab(name) if look else verbs.ab(name)
    if state().json:
        show(test)
        return
    note(f"A/B test of {name}: {test.state}, policy {test.policy}, reward {test.reward}.")
    if test.latest is None:
        note("No labels of its arms have come yet.")
        return
    rows = [
        (
            x.arm,
            f"{x.model}:{x.number}",
            f"{x.share:.1%}",
            x.rows,
            x.labelled,
            _n(x.mean),
            _n(x.difference),
            _between(x.low, x.high),
            f"{x.p:.3g}",
        )
        for x in test.latest.arms
    ]
    table(("arm", "version", "share", "rows", "labels", "mean", "difference", "always-valid interval", "p"), rows, title="Arms")
    note(test.latest.conclusion)


@command.command("list")
@click.argument("name", required=False)
@verb
def list_tests(name: str | None) -> None:
    """A/B tests, newest first.

    \b
    Example: rung ab list
    """
    show(client().serving.ab_tests(name), ("deployment", "arms", "policy", "reward", "state", "started_at"), empty="No A/B test yet.")


@command.command("stop")
@click.argument("name")
@click.option("--keep", default="stable", show_default=True, help="Arm that becomes, or stays, the stable version.")
@click.option("--reason", default="", help="Why; kept with the revision.")
@click.option("--override", "override_reason", default="", help="Keep it without what it takes, for this reason.")
@verb
def stop(name: str, keep: str, reason: str, override_reason: str) -> None:
    """End an A/B test; one arm serves alone from then on.

    \b
    Example: rung ab stop churn --keep arm-1
    """
    revision = client().serving.stop_ab(name, keep=keep, reason=reason, override_reason=override_reason)
    show_revision(revision)


def _settings(given: tuple[str, ...]) -> dict[str, object]:
    return {key: value_of(text) for key, _, text in (item.partition("=") for item in given)}


def _n(value: float) -> str:
    return f"{value:.4g}" if value == value else ""  # noqa: PLR0124 - not known yet


def _between(low: float, high: float) -> str:
    return f"{low:.4g} to {high:.4g}" if low == low else "not known yet"  # noqa: PLR0124 - the same
