"""``rung webhook``: addresses that are told what happens in the registry."""

from __future__ import annotations

import os
from typing import Any

import click

from rung.cli.frame import EXIT_FAILURE, client, fail, note, show, state, table, verb

_WEBHOOK = ("id", "name", "url", "events", "status", "signed", "created_by")
_DELIVERY = ("id", "event", "status", "created_at", "attempts", "response_status", "due_at", "error")


@click.group("webhook", short_help="Addresses that are told what happens in the registry.")
def command() -> None:
    """Addresses that are told what happens in the registry: by POST, signed, tried again until they are taken."""


@command.command("add")
@click.argument("name")
@click.argument("url")
@click.option("-e", "--event", "events", multiple=True, required=True, help="What to tell, such as model_version.created; repeatable.")
@click.option("--secret-from", metavar="VARIABLE", help="Environment variable that holds the secret which signs what is sent.")
@click.option("--description", default="", help="What it is for.")
@verb
def add(name: str, url: str, events: tuple[str, ...], secret_from: str | None, description: str) -> None:
    """Tell an address of events. The secret is never shown again.

    \b
    Example: rung webhook add ci https://ci.example.org/hooks/rung --event verdict.passed --secret-from HOOK_SECRET
    """
    given: Any = _events(events)
    show(client().webhooks.create(name, url, given, secret=_secret(secret_from), description=description), _WEBHOOK)


@command.command("list")
@verb
def list_webhooks() -> None:
    """Webhooks of the project, without their secrets.

    \b
    Example: rung webhook list
    """
    show(client().webhooks.list(limit=1000), _WEBHOOK, empty="No webhooks yet. `rung webhook add` makes one.")


@command.command("events")
@verb
def events_command() -> None:
    """What webhooks can be told of, with an example of what is sent.

    \b
    Example: rung webhook events
    """
    from rung.registry.webhooks import EXAMPLES  # noqa: PLC0415 - loads msgspec

    if state().json:
        show(EXAMPLES)
    else:
        table(["event", "data"], [[name, data] for name, data in EXAMPLES.items()])


@command.command("update")
@click.argument("webhook")
@click.option("--name", help="Another name.")
@click.option("--url", help="Another address.")
@click.option("-e", "--event", "events", multiple=True, help="All that it is told of from now on; repeatable.")
@click.option("--secret-from", metavar="VARIABLE", help="Environment variable that holds another secret; an empty one signs no more.")
@click.option("--description", help="What it is for.")
@click.option("--on/--off", "on", default=None, help="Switch it on or off.")
@verb
def update(webhook: str, *, on: bool | None, events: tuple[str, ...], secret_from: str | None, **given: str | None) -> None:
    """Change a webhook, by its name or id; one that failed is switched on again so.

    \b
    Example: rung webhook update ci --on
    """
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if events:
        changes["events"] = _events(events)
    if secret_from:
        changes["secret"] = _secret(secret_from)
    if on is not None:
        changes["status"] = "active" if on else "disabled"
    if not changes:
        raise click.UsageError("Nothing is changed. See `rung webhook update --help`.")
    show(client().webhooks.update(webhook, **changes), _WEBHOOK)


@command.command("test")
@click.argument("webhook")
@click.option("-e", "--event", help="Event to send an example of; default the first it is told of.")
@verb
def test(webhook: str, event: str | None) -> None:
    """Send a webhook an example, now and once; exit code 1 when it is not taken.

    \b
    Example: rung webhook test ci
    """
    wanted: Any = _events((event,))[0] if event else None
    tried = client().webhooks.test(webhook, wanted)
    show(tried)
    if not tried.success:
        fail("It was not taken.", code=EXIT_FAILURE)


@command.command("deliveries")
@click.argument("webhook")
@click.option("--status", type=click.Choice(["pending", "delivered", "dead"]), help="Only those in this state.")
@click.option("--limit", default=30, show_default=True, help="How many, newest first.")
@verb
def deliveries(webhook: str, status: Any, limit: int) -> None:
    """Messages to a webhook, newest first.

    \b
    Example: rung webhook deliveries ci --status dead
    """
    show(client().webhooks.deliveries(webhook, status=status, limit=limit), _DELIVERY, empty="Nothing was sent yet.")


@command.command("retry")
@click.argument("delivery")
@verb
def retry(delivery: str) -> None:
    """Send a message again that was given up, by its id.

    \b
    Example: rung webhook retry 01a1fbb3f9937000b300c55d9cbfbbff
    """
    show(client().webhooks.retry(delivery), _DELIVERY)


@command.command("remove")
@click.argument("webhook")
@verb
def remove(webhook: str) -> None:
    """Forget a webhook, with its secret and its deliveries.

    \b
    Example: rung webhook remove ci
    """
    client().webhooks.delete(webhook)
    if state().json:
        show({})
    else:
        note("It is told nothing any more.")


def _events(given: tuple[str, ...]) -> tuple[str, ...]:
    from rung.registry.webhooks import EXAMPLES  # noqa: PLC0415 - loads msgspec

    for event in given:
        if event not in EXAMPLES:
            raise click.UsageError(f"Nobody is told of {event!r}. Choose among {', '.join(EXAMPLES)}.")
    return given


def _secret(variable: str | None) -> str | None:
    if variable is None:
        return None
    if variable not in os.environ:
        raise click.UsageError(f"The environment has no variable {variable!r}. Set it to the secret first.")
    return os.environ[variable]
