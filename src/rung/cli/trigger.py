"""``rung trigger``: what starts pipelines by itself, and what holds it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from rung.cli.frame import client, show, state, verb
from rung.cli.run import _parsed

F = TypeVar("F", bound=Callable[..., Any])
_COLUMNS = ("name", "pipeline", "kind", "subject", "paused", "source", "next_fire", "last_fired_at", "warnings")
_CALLS = ("id", "at", "trigger_name", "outcome", "cause", "reason", "pipeline_run")
_WORDS = (
    ("--cron", str, 'By time, five fields: "0 6 * * 1".'),
    ("--dataset", str, "By a new version of this dataset."),
    ("--performance", str, "By a drop of this deployment's realised performance."),
    ("--drift", str, "By drift of this deployment's inputs."),
    ("--alert", str, "By an alert of this deployment."),
    ("--incident", str, "By a diagnosed incident of this deployment."),
    ("--decision", str, "By a decision to retrain this deployment's model."),
    ("--after", str, "By the end of a run of this pipeline."),
    ("--model", str, "By a new version of this model."),
    ("--push", str, "By a push to this repository, * for any."),
)
_GUARDS = (
    ("--zone", str, "Time zone of schedule, quiet hours and periods."),
    ("--catch-up", click.Choice(["none", "last", "all"]), "What becomes of fire times missed."),
    ("--jitter", str, "Put starts off by up to this, e.g. 5m."),
    ("--cooldown", str, "Least time between two starts, e.g. 12h."),
    ("--most", str, "Most starts a period, e.g. 2/week."),
    ("--budget", str, "Most that runs may cost, e.g. 50/month."),
    ("--budget-model", str, "Count this model's cost ledger too."),
    ("--min-labelled", float, "Least share of predictions with a label."),
    ("--min-labels", int, "Least number of labels."),
    ("--min-label-age", str, "Time labels are given to arrive, e.g. 36h."),
    ("--label-deployment", str, "Deployment whose labels count."),
    ("--concurrency", click.Choice(["allow", "skip", "queue"]), "While a run of the pipeline is active."),
    ("--patience", str, "How long a cause waits for what holds it back."),
    ("--priority", int, "Priority of the runs, -100 to 100."),
    ("--package", str, "Run the pipeline as in this package."),
    ("--environment", str, "Environment the runs belong to."),
    ("--executor", str, "Where steps run."),
)


@click.group("trigger", short_help="What starts pipelines by itself.")
def command() -> None:
    """What starts pipelines by itself: time, data, drift, incidents, decisions, pushes, webhooks. Example: rung trigger list."""


def _described(function: F) -> F:
    """The options of ``add`` and ``edit``: one a word of ``rung.toml``."""
    for flag, kind, told in reversed(_GUARDS):
        function = click.option(flag, type=kind, help=told)(function)
    for flag, told in (("--approval", "Start only when somebody approves."), ("--dry", "Record what it would do; start nothing.")):
        function = click.option(f"{flag}/--no-{flag[2:]}", default=None, help=told)(function)
    function = click.option("--quiet", multiple=True, metavar="SPAN", help='Quiet hours, e.g. "Mon-Fri 08:00-18:00".')(function)
    function = click.option("--with", "options", multiple=True, metavar="KEY=VALUE", help="An option of the kind, e.g. share=0.3.")(
        function
    )
    function = click.option("--take", multiple=True, metavar="PARAM=FACT", help="A parameter that takes a fact of the cause.")(function)
    function = click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the pipeline.")(function)
    for flag, kind, told in reversed(_WORDS):
        function = click.option(flag, type=kind, help=told)(function)
    return function


@command.command("add")
@click.argument("name")
@click.argument("pipeline")
@_described
@click.option("--webhook", is_flag=True, help="By a signed POST to an address of its own.")
@click.option("--manual", is_flag=True, help="By hand, under the same guard rails.")
@click.option("--secret", help="The secret of a webhook or push; left out, one is made and shown once.")
@click.option("--replace", is_flag=True, help="Write the trigger of that name anew.")
@verb
def add(name: str, pipeline: str, secret: str | None, *, webhook: bool, manual: bool, replace: bool, **given: Any) -> None:
    """Let something start a pipeline.

    \b
    Examples: rung trigger add nightly train --cron "0 6 * * *" --zone Europe/Berlin
              rung trigger add on-flights train --dataset flights --with min_rows=1000
              rung trigger add retrain train --decision late-flights --cooldown 7d
    """
    words = _words(given) | ({"webhook": True} if webhook else {}) | ({"manual": True} if manual else {})
    held = client().triggers.add(name, pipeline, secret=secret, replace=replace, **words)
    show(held, (*_COLUMNS, "hook", "secret") if held.secret else _COLUMNS)


@command.command("edit")
@click.argument("name")
@click.option("--pipeline", help="Start another pipeline.")
@_described
@verb
def edit(name: str, pipeline: str | None, **given: Any) -> None:
    """Change a trigger in place; what is not named stays. Example: rung trigger edit nightly --cooldown 1d"""
    show(client().triggers.edit(name, **_words(given), **({"pipeline": pipeline} if pipeline else {})), _COLUMNS)


@command.command("list")
@click.option("--kind", help="Only triggers of this kind.")
@verb
def list_(kind: str | None) -> None:
    """Triggers of the project. Example: rung trigger list"""
    show(client().triggers.list(kind), _COLUMNS, empty="No triggers yet. `rung trigger add` makes one.")


@command.command("sync")
@verb
def sync() -> None:
    """Take over the triggers that rung.toml and the code declare, now, and say what is wrong. Example: rung trigger sync"""
    show(client().triggers.sync(), _COLUMNS, empty="The project declares no triggers.")


@command.command("show")
@click.argument("name")
@verb
def show_(name: str) -> None:
    """One trigger, with its options and guard rails. Example: rung trigger show nightly"""
    held = client().triggers.get(name)
    show(held, (*_COLUMNS, "options", "params", "take", "hook", "created_by"))
    if not state().json:
        for guard, value in _set_guards(held.guards):
            click.echo(f"guard          {guard} = {value}")


@command.command("remove")
@click.argument("name")
@verb
def remove(name: str) -> None:
    """Remove a trigger; its history stays. Example: rung trigger remove nightly"""
    show(client().triggers.remove(name), _COLUMNS)


@command.command("pause")
@click.argument("name", required=False)
@verb
def pause(name: str | None) -> None:
    """Pause a trigger, or all of them. Example: rung trigger pause nightly"""
    show(client().triggers.pause(name), _COLUMNS)


@command.command("resume")
@click.argument("name", required=False)
@verb
def resume(name: str | None) -> None:
    """Let a trigger, or all of them, work again. Example: rung trigger resume nightly"""
    show(client().triggers.resume(name), _COLUMNS)


@command.command("fire")
@click.argument("name")
@click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the pipeline.")
@click.option("--fact", "facts", multiple=True, metavar="KEY=VALUE", help="A fact of the cause, for parameters that take one.")
@click.option("--cause", help="A word for the cause; the same word counts once.")
@click.option("--dry", is_flag=True, help="Record what it would do; start nothing.")
@verb
def fire(name: str, params: tuple[str, ...], facts: tuple[str, ...], cause: str | None, *, dry: bool) -> None:
    """Call upon a trigger by hand; its guard rails hold. Example: rung trigger fire nightly"""
    _tell(client().triggers.fire(name, _parsed(params), facts=_parsed(facts), cause=cause, dry=dry))


@command.command("test")
@click.argument("name")
@click.option("--fact", "facts", multiple=True, metavar="KEY=VALUE", help="A fact of the cause to try.")
@verb
def test(name: str, facts: tuple[str, ...]) -> None:
    """What a trigger would answer now; nothing starts. Example: rung trigger test nightly"""
    _tell(client().triggers.test(name, _parsed(facts)))


@command.command("history")
@click.argument("name", required=False)
@click.option("--outcome", type=click.Choice(["fired", "held_back", "not_met", "waiting", "dry"]))
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@verb
def history(name: str | None, outcome: Any, limit: int) -> None:
    """When triggers were called, by what, and why they fired or did not. Example: rung trigger history nightly"""
    show(client().triggers.history(name, outcome=outcome, limit=limit), _CALLS, empty="No trigger was called upon yet.")


@command.command("next")
@click.argument("name", required=False)
@click.option("--count", type=click.IntRange(1, 1000), default=10, show_default=True)
@verb
def next_(name: str | None, count: int) -> None:
    """The next times at which schedules call. Example: rung trigger next nightly"""
    show(client().triggers.next(name, count=count), ("trigger", "pipeline", "local_time", "due_at"), empty="No schedule is at work.")


@command.command("approve")
@click.argument("call")
@click.option("--note", default="", help="Why.")
@verb
def approve(call: str, note: str) -> None:
    """Let a call that waits for approval start. Example: rung trigger approve 0199…"""
    _tell(client().triggers.approve(call, note=note))


@command.command("refuse")
@click.argument("call")
@click.option("--note", default="", help="Why.")
@verb
def refuse(call: str, note: str) -> None:
    """Refuse a call that waits. Example: rung trigger refuse 0199… --note "not this week\""""
    _tell(client().triggers.refuse(call, note=note))


@command.command("rotate")
@click.argument("name")
@click.option("--grace", default="0", show_default=True, help="How long the old secret stays good, e.g. 1d.")
@click.option("--secret", help="The new secret; left out, one is made.")
@verb
def rotate(name: str, grace: str, secret: str | None) -> None:
    """A new secret for a trigger that is called over HTTP, shown this once. Example: rung trigger rotate on-push"""
    from rung.pipelines.authoring import seconds  # noqa: PLC0415

    show(client().triggers.rotate(name, secret=secret, grace_s=seconds(grace) or 0.0), ("name", "hook", "secret"))


def _tell(call: Any) -> None:
    show(call, (*_CALLS, "would", "params"))
    if not state().json:
        for check in call.checks:
            click.echo(f"{'passed' if check.passed else 'failed'}        {check.guard}: {check.statement}")


def _set_guards(guards: Any) -> list[tuple[str, Any]]:
    """Guard rails that differ from the default."""
    plain = type(guards)()
    return [(name, getattr(guards, name)) for name in guards.__struct_fields__ if getattr(guards, name) != getattr(plain, name)]


def _words(given: dict[str, Any]) -> dict[str, Any]:
    """What was given, in the words of ``rung.toml``; what was not given is left out."""
    words = {key: value for key, value in given.items() if value is not None and value != ()}
    options = _parsed(words.pop("options", ()))
    for key in ("params", "take"):
        if key in words:
            words[key] = _parsed(words[key])
    if "quiet" in words:
        words["quiet"] = list(words["quiet"])
    return {**words, **{key: _read(value) for key, value in options.items()}}


def _read(text: str) -> Any:
    """A value as JSON where it is that, else as text."""
    import json  # noqa: PLC0415

    try:
        return json.loads(text)
    except ValueError:
        return text
