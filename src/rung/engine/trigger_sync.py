"""Triggers that the project declares, in ``rung.toml`` and in its code, brought into the platform when they have changed."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Literal

from rung.core.errors import RungError
from rung.core.settings import FILE, Settings, load_settings
from rung.engine.host import Host, ServiceTransport
from rung.pipelines.trigger_store import TriggerStore
from rung.pipelines.triggering import AddTrigger, ListTriggers, SyncTriggers, Trigger

_log = logging.getLogger("rung.engine")
_COMPARED = ("pipeline", "kind", "subject", "options", "params", "take", "guards", "priority", "package", "environment", "executor")


class TriggerSync:
    """Compares what is declared with what the platform has, whenever the file or the modules may have changed."""

    def __init__(self, host: Host, project: str) -> None:
        self._host = host
        self._project = project
        self._read: tuple[tuple[int, int], Settings] | None = None
        self._known: dict[str, tuple[AddTrigger, ...]] = {}
        self._told = ""

    def sync_or_warn(self) -> None:
        """Like ``sync``; a declaration that cannot work stops no pipeline, but is told, once."""
        try:
            self.sync()
        except RungError as error:
            if str(error) != self._told:
                self._told = str(error)
                _log.warning("the triggers are not as the project declares them: %s", error)

    def sync(self) -> None:
        """Add, change and remove. Raises Invalid for a declaration that cannot work, AlreadyExists for a name that is taken."""
        settings = self._settings()
        if settings is None:
            return
        sources = declared_by(settings)
        if all(self._known.get(source) == wanted for source, wanted in sources):
            return
        transport = ServiceTransport(self._host, self._project)
        declares = any(wanted for _, wanted in sources)
        if not declares and not transport.scope().read(lambda s: TriggerStore(s.connection, s.project).has_declared()):
            self._known |= dict(sources)
            return
        held = transport.call(ListTriggers())
        for source, wanted in sources:
            if not _same([trigger for trigger in held if trigger.source == source], wanted):
                transport.call(SyncTriggers(source=source, triggers=wanted))
            self._known[source] = wanted

    def _settings(self) -> Settings | None:
        """Settings as the file has them now; None for a process without a project of its own."""
        path = Path(self._host.settings.folder or ".") / FILE
        try:
            stat = path.stat()
        except OSError:
            return None
        mark = (stat.st_mtime_ns, stat.st_size)
        if self._read is None or self._read[0] != mark:
            self._read = (mark, load_settings(path.parent, environ={}))
        return self._read[1]


def declared_by(settings: Settings) -> tuple[tuple[Literal["rung.toml", "code"], tuple[AddTrigger, ...]], ...]:
    """The triggers of the file and those of the imported modules. Raises Invalid."""
    if "rung.pipelines.declaring" not in sys.modules and not settings.triggers:
        return ("rung.toml", ()), ("code", ())
    from rung.pipelines.declaring import declared, declared_in_code  # noqa: PLC0415 - the family is loaded only where a trigger is declared

    from_file = tuple(declared(name, words) for name, words in settings.triggers.items())
    return ("rung.toml", from_file), ("code", declared_in_code(settings.pipelines))


def _same(held: list[Trigger], wanted: tuple[AddTrigger, ...]) -> bool:
    by_name = {trigger.name: trigger for trigger in held}
    return by_name.keys() == {item.name for item in wanted} and all(
        getattr(by_name[item.name], field) == getattr(item, field) for item in wanted for field in _COMPARED
    )
