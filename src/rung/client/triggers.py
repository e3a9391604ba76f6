"""Triggers from Python: what starts pipelines by itself, what held it back, and what will come."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from rung.client.transports import Transport
from rung.core.records import replaced
from rung.engine import records as e
from rung.pipelines import triggering as t


class TriggersVerbs:
    """Verbs of triggers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add(self, name: str, pipeline: str, *, secret: str | None = None, replace: bool = False, **words: Any) -> t.Trigger:
        """Let something start a pipeline, in the words of ``rung.toml``: ``add("nightly", "train", cron="0 6 * * *", cooldown="12h")``.

        A trigger that is called over HTTP answers its ``secret`` here, and only here.

        Raises:
            Invalid: a word is unknown, a value cannot be, a parameter does not fit. NotFound: there is no such pipeline.
            AlreadyExists: the name is taken, and ``replace`` is not set.
        """
        from rung.pipelines.declaring import declared  # noqa: PLC0415 - loads the family; only adding needs it

        self._know_pipelines()
        request = declared(name, {"pipeline": pipeline, **_plain(words)})
        return self._transport.call(replaced(request, secret=secret, replace=replace))

    def edit(self, name: str, **words: Any) -> t.Trigger:
        """Change a trigger in place, in the same words; what is not named stays. Raises NotFound, Invalid."""
        from rung.pipelines.declaring import edited  # noqa: PLC0415 - loads the family; only editing needs it

        self._know_pipelines()
        return self._transport.call(edited(self.get(name), _plain(words)))

    def sync(self, folder: Path | str | None = None) -> tuple[t.Trigger, ...]:
        """Make the triggers that the project of a folder declares those of the platform, now; workers do it by themselves.

        Raises:
            Invalid: a declaration cannot work. AlreadyExists: a name is taken by a trigger that was added by hand.
        """
        from rung.core.settings import load_settings  # noqa: PLC0415
        from rung.engine.trigger_sync import declared_by  # noqa: PLC0415 - loads the engine's part; only this verb needs it
        from rung.pipelines.project import load_project  # noqa: PLC0415

        settings = load_settings(Path(folder) if folder else None, environ={})
        load_project(settings)
        self._know_pipelines()
        return tuple(
            trigger
            for source, triggers in declared_by(settings)
            for trigger in self._transport.call(t.SyncTriggers(source=source, triggers=triggers))
        )

    def get(self, name: str) -> t.Trigger:
        """One trigger. Raises NotFound."""
        return self._transport.call(t.GetTrigger(name=name))

    def list(self, kind: str | None = None, *, pipeline: str | None = None) -> tuple[t.Trigger, ...]:
        """Triggers of the project."""
        return self._transport.call(t.ListTriggers(kind=kind, pipeline=pipeline))

    def remove(self, name: str) -> t.Trigger:
        """Remove a trigger; its history stays."""
        return self._transport.call(t.RemoveTrigger(name=name))

    def pause(self, name: str | None = None) -> tuple[t.Trigger, ...]:
        """Pause one trigger, or all."""
        return self._transport.call(t.PauseTriggers(name=name, paused=True))

    def resume(self, name: str | None = None) -> tuple[t.Trigger, ...]:
        """Let one trigger, or all, work again."""
        return self._transport.call(t.PauseTriggers(name=name, paused=False))

    def fire(
        self, name: str, params: dict[str, Any] | None = None, *, facts: dict[str, Any] | None = None, cause: str | None = None,
        as_of: datetime | None = None, dry: bool = False,
    ) -> t.TriggerFire:  # fmt: skip
        """Call upon a trigger by hand: its guard rails hold. The same ``cause`` counts once."""
        wish = e.FireTrigger(name=name, params=_plain(params or {}), facts=_plain(facts or {}), cause=cause, as_of=as_of, dry=dry)
        return self._transport.call(wish)

    def test(
        self, name: str, facts: dict[str, Any] | None = None, *, params: dict[str, Any] | None = None, as_of: datetime | None = None
    ) -> t.TriggerFire:
        """What a trigger would answer now, or to these facts; nothing is kept and nothing starts."""
        return self._transport.call(e.TestTrigger(name=name, facts=_plain(facts or {}), params=_plain(params or {}), as_of=as_of))

    def call(
        self, kind: str, subject: str, cause: str, facts: dict[str, Any], *, as_of: datetime | None = None
    ) -> tuple[t.TriggerFire, ...]:
        """Call upon every trigger that listens to a kind and subject, for a cause of your own making."""
        signal = t.Signal(kind=kind, subject=subject, cause=cause, facts=_plain(facts), as_of=as_of)
        return self._transport.call(e.CallTriggers(signal=signal))

    def history(
        self, name: str | None = None, *, outcome: t.FireOutcome | None = None, after: str | None = None, limit: int = 50
    ) -> tuple[t.TriggerFire, ...]:
        """Calls upon triggers with their answers and reasons, newest first."""
        return self._transport.call(t.ListTriggerFires(name=name, outcome=outcome, after=after, limit=limit))

    def next(self, name: str | None = None, *, count: int = 10) -> tuple[t.UpcomingFire, ...]:
        """The next times at which schedules call."""
        return self._transport.call(t.NextFires(name=name, count=count)).items

    def approve(self, fire: str, *, note: str = "") -> t.TriggerFire:
        """Let a call that waits for approval start."""
        return self._transport.call(e.SettleFire(id=fire, approve=True, note=note))

    def refuse(self, fire: str, *, note: str = "") -> t.TriggerFire:
        """Refuse a call that waits."""
        return self._transport.call(e.SettleFire(id=fire, approve=False, note=note))

    def rotate(self, name: str, *, secret: str | None = None, grace_s: float = 0.0) -> t.Trigger:
        """A new secret for a trigger that is called over HTTP; the one before stays good for ``grace_s``."""
        return self._transport.call(t.RotateTriggerSecret(name=name, secret=secret, grace_s=grace_s))

    def _know_pipelines(self) -> None:
        """With the embedded platform, tell it first which pipelines the project folder defines."""
        platform = getattr(self._transport, "platform", None)
        if platform is not None:
            from rung.engine.loop import Engine  # noqa: PLC0415 - loaded only where the platform is in this process

            Engine(platform).register()


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(values)
    return plain
