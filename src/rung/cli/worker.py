"""``rung worker``: take queued runs and background work."""

from __future__ import annotations

import queue
import signal

import click

from rung.cli.frame import client, note, state, verb


@click.command("worker", short_help="Execute queued runs and background work.")
@click.option("--once", is_flag=True, help="End when nothing is due any more.")
@verb
def command(once: bool) -> None:  # noqa: FBT001
    """Execute queued runs, fire schedules and deliver events, from the project in this folder. Ends with Ctrl-C.

    \b
    Example: rung worker --once
    """
    from rung.client.transports import HttpTransport  # noqa: PLC0415
    from rung.core.errors import Invalid  # noqa: PLC0415

    transport = client().transport
    platform = getattr(transport, "platform", None)
    if platform is None or isinstance(transport, HttpTransport):
        raise Invalid(
            "A worker needs the database itself, not a server's address.", code="engine.no_database",
            hint="Unset RUNG_URL, and set storage.database and storage.blobs to the server's.",
        )  # fmt: skip
    from rung.engine.loop import Engine  # noqa: PLC0415

    engine = Engine(platform)
    engine.register()
    if once:
        rounds = engine.run_until_idle()
        engine.stop()
        note(f"Nothing is due any more, after {rounds} rounds.")
        if state().json:
            click.echo(f'{{"rounds": {rounds}}}')
        return
    ended: queue.SimpleQueue[None] = queue.SimpleQueue()  # a handler may put into it whatever it interrupts; an Event has a lock
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.put(None))
    engine.start()
    note(f"Working as {engine.owner}. Ctrl-C ends.")
    ended.get()
    engine.stop()
