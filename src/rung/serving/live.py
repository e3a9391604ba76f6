"""What is deployed right now, with models loaded: the table the data plane answers from.

The table is replaced as a whole, after new versions have loaded and scored a few rows, and never on an answer's way: in a server
by a thread that looks at a counter, and by whoever changed a deployment in this process before he is told so. A version that
fails to load leaves what answered before.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from rung.core.errors import Invalid, NotFound, RungError, Unavailable
from rung.core.settings import Settings
from rung.governance.store import GovernanceStore
from rung.registry.loading import forget
from rung.registry.records import ModelVersion
from rung.registry.store import RegistryStore
from rung.serving.log import PredictionLog
from rung.serving.memory import giving_way, size_of
from rung.serving.metrics import BOARD
from rung.serving.preparing import LiveDeployment, LiveRoute, prepared
from rung.serving.records import Deployment, RoutingState
from rung.serving.routing.family import router_of
from rung.serving.store import ServingStore, generation, projects_with_deployments
from rung.storage.blobs import BlobStore
from rung.storage.connection import Connection
from rung.storage.database import Database
from rung.storage.scope import Scope

__all__ = ["LiveDeployment", "LiveRoute", "LiveTable", "Swap", "live_table", "note_change"]
LOG = logging.getLogger("rung.serving")
Wish = tuple[str, Deployment, list[ModelVersion]]
_LOOK_EVERY_S = 0.2
_AGAIN_AFTER_S = 10.0
_MOST_SWAPS = 1000
_SETTLING_S = 60.0
_changes = 0
_changed_at = -math.inf
_changes_lock = threading.Lock()


def note_change() -> None:
    """Say that this process changed a deployment; every table of the process looks again before its next answer."""
    global _changes, _changed_at  # noqa: PLW0603 - one counter for the process is what tables compare with
    with _changes_lock:
        _changes += 1
        _changed_at = time.monotonic()


@dataclass(frozen=True)
class Swap:
    """Seconds from a revision's creation until this process answered with it, and how many milliseconds loading and warm-up took."""

    after_s: float
    load_ms: float


@dataclass(eq=False)
class LiveTable:
    """Deployments of every project, loaded; one a platform and process."""

    database: Database
    blobs: BlobStore
    settings: Settings
    failed: dict[tuple[str, str], RungError] = field(default_factory=dict)
    asleep: dict[tuple[str, str], Wish] = field(default_factory=dict)
    told: list[Callable[[], None]] = field(default_factory=list)  # called when what answers has changed
    marker: tuple[int, str] = (-1, "")  # what was last seen to be deployed, loaded or not yet
    _used: dict[tuple[str, str], float] = field(default_factory=dict)
    _learned: dict[tuple[str, str], RoutingState] = field(default_factory=dict)
    _wished: dict[tuple[str, str], Wish] = field(default_factory=dict)
    _begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    _swaps: dict[tuple[str, str, int], Swap] = field(default_factory=dict)
    _held: dict[tuple[str, str], LiveDeployment] = field(default_factory=dict)
    _logs: dict[str, PredictionLog] = field(default_factory=dict)
    _seen: tuple[int, tuple[int, str]] = (-1, (-1, ""))
    _looked_at: float = 0.0
    _again_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _logging: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _loaded: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def get(self, project: str, name: str) -> LiveDeployment:
        """A deployment ready to answer. Raises NotFound, or what kept its model from loading."""
        found = self.now(project, name)
        return self._missing(project, name) if found is None else found

    def now(self, project: str, name: str) -> LiveDeployment | None:
        """A deployment as the table stands, without looking for changes while a thread does that; None when it does not answer."""
        if self._thread is None:
            self.refresh()
        return self._held.get((project, name))

    @property
    def loaded(self) -> bool:
        """Whether what is deployed was looked at and loaded, once at least."""
        return self._seen[1] != (-1, "")

    def names(self, project: str) -> list[str]:
        """Deployments of a project that answer."""
        if self._thread is None:
            self.refresh()
        return sorted({name for held, name in (*self._held, *self.asleep) if held == project})

    def wake(self, project: str, name: str) -> None:
        """Load a deployment that was unloaded to make room, and unload others for it. Raises what keeps it from loading."""
        key = (project, name)
        with self._lock:
            wish = self.asleep.get(key)
            if wish is None:
                return
            made = self._made(*wish, None, self._learned.get(key))
            self._used[key] = time.monotonic()
            self._answer_from({**self._held, key: made}, key)
            self.asleep = {other: one for other, one in self.asleep.items() if other != key}  # at no time it is nowhere

    def states(self) -> dict[tuple[str, str], str]:
        """Deployments by project and name, with why they do not answer as they should; empty for those that do."""
        return {**dict.fromkeys((*self._held, *self.asleep), ""), **{key: error.message for key, error in self.failed.items()}}

    def revisions(self, project: str) -> dict[str, int]:
        """The revision each deployment answers with, those included that were unloaded to make room."""
        held = {name: live.revision for (of, name), live in self._held.items() if of == project}
        return {name: wish[1].revision for (of, name), wish in self.asleep.items() if of == project} | held

    def swap(self, project: str, name: str, revision: int) -> Swap | None:
        """How long this process took to answer with a revision; None when it did not see it happen."""
        return self._swaps.get((project, name, revision))

    def only(self, project: str) -> LiveDeployment:
        """The project's one deployment. Raises Invalid when there are none or several."""
        names = self.names(project)
        if len(names) != 1:
            raise Invalid(
                f"This path serves one deployment; the project has {len(names)}.",
                code="serving.which_deployment",
                hint=f"Put /deployments/NAME in front, with one of: {', '.join(names) or 'none yet'}.",
            )
        return self.get(project, names[0])

    def log(self, project: str) -> PredictionLog:
        """The log this process writes for a project."""
        with self._logging:  # by the thread that loads, and by whoever seals: they must have the same one
            held = self._logs.get(project)
            if held is None:
                serving = self.settings.serving
                held = self._logs[project] = PredictionLog(
                    self.settings.home_path, project, segment_bytes=serving.segment_mb << 20, fsync=serving.log_fsync,
                    most_bytes=serving.log_mb << 20,
                )  # fmt: skip
            return held

    @property
    def loading(self) -> bool:
        """Whether the thread has not looked for the first time yet; ``wait`` waits for that."""
        return self._thread is not None and not self._loaded.is_set()

    def wait(self, seconds: float) -> None:
        """Wait until what is deployed has been loaded. Raises Unavailable when that takes longer."""
        if self._thread is not None and not self._loaded.wait(seconds):
            raise Unavailable("The models are still being loaded.", code="serving.loading", hint="Send it again in a moment.")

    def start(self) -> None:
        """Load what is deployed, and look for changes, in a thread until closed."""
        if self._thread is None:
            self._stop.clear()
            self._loaded.clear()
            self._thread = threading.Thread(target=self._watch, name="rung-live", daemon=True)
            self._thread.start()

    def refresh(self) -> None:
        """Look for changes, if this process made one or the last look is a moment old."""
        now = time.monotonic()
        if self._seen[0] == _changes and now - self._looked_at < _LOOK_EVERY_S:
            return
        if self._lock.acquire(blocking=self._seen[0] != _changes):
            try:
                self._look()
            finally:
                self._lock.release()

    def settle(self) -> None:
        """Bring what this process has just committed into the table, before whoever committed it is told."""
        # a change is noted before it is committed, so whether it was seen already cannot be told from the counter
        if self._thread is None or time.monotonic() - _changed_at > _SETTLING_S:
            return
        try:
            with self._lock:
                self._look()
        except RungError as error:  # the change is kept, and the thread looks again in a moment
            LOG.warning("deployments cannot be looked at: %s", error)

    def close(self) -> None:
        """End the thread, and seal every log."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(10)
        with self._logging:
            logs, self._logs = self._logs, {}
        for log in logs.values():
            log.close()
        for live in self._held.values():
            for scoring in live.scorings:
                scoring.close(now=True)
        self._held = {}
        self.asleep, self._seen = {}, (-1, (-1, ""))

    def _watch(self) -> None:
        while True:
            try:
                with self._lock:
                    self._look()
                self._loaded.set()
            except RungError as error:  # a database that is away for a moment: what answers goes on answering
                LOG.warning("deployments cannot be looked at: %s", error)
            except Exception:
                LOG.exception("deployments cannot be looked at")
            self._note_use()
            BOARD.fold()
            if self._stop.wait(_LOOK_EVERY_S):
                return

    def _look(self) -> None:
        changes = _changes
        self.marker = marker = self.database.read(generation)
        if marker != self._seen[1] or (self.failed and time.monotonic() > self._again_at):
            self._again_at = time.monotonic() + _AGAIN_AFTER_S
            (wished, lost), learned = self.database.read(lambda c: (_wished(c), _learned(c)))
            self._replace(wished, lost, learned)
            BOARD.projects |= self.database.read(lambda c: GovernanceStore(c).project_names())
        now = time.monotonic()
        # a change is noted before it is committed: until it can be seen, whoever asks looks again; of several, one may still be hidden
        visible = (marker != self._seen[1] and changes - self._seen[0] == 1) or now - _changed_at > _SETTLING_S
        self._seen, self._looked_at = (changes if visible else self._seen[0], marker), now

    def _replace(self, wished: list[Wish], lost: dict[tuple[str, str], RungError], learned: dict[tuple[str, str], RoutingState]) -> None:
        held: dict[tuple[str, str], LiveDeployment] = {}
        failed: dict[tuple[str, str], RungError] = {}
        asleep: dict[tuple[str, str], Wish] = {}
        room = self.settings.serving.memory_mb << 20
        for project, deployment, versions in wished:
            key = (project, deployment.name)
            before = self._held.get(key)
            if before is not None and before.deployment == deployment:
                moved = learned.get(key) != self._learned.get(key)
                held[key] = replace(before, router=router_of(deployment, learned.get(key))) if moved else before
                continue
            full = room and size_of(versions) + size_of(_versions(held.values())) > room
            if before is None and full and not deployment.options.runtime.pinned:
                asleep[key] = (project, deployment, versions)  # loaded by whoever asks for it
                continue
            try:
                held[key] = self._made(project, deployment, versions, before, learned.get(key))
            except Exception as error:  # whatever a file holds or a disk does, the other deployments are loaded
                failed[key] = self._kept_from(key, error)
                if before is not None:
                    held[key] = before  # what answered before goes on answering
        for key, reason in lost.items():
            failed[key] = self._kept_from(key, reason)
            if key in self._held:
                held[key] = self._held[key]
        self._wished = {(project, one.name): (project, one, versions) for project, one, versions in wished}
        self._learned = learned
        # what is woken, or loads at last, is let go of here only once it answers, so that it is never nowhere
        self.asleep = {**self.asleep, **asleep}
        self._answer_from(held, None)
        self.asleep = {key: wish for key, wish in self.asleep.items() if key in asleep or (key in held and key not in self._held)}
        self.failed = failed
        for tell in self.told:
            tell()

    def _kept_from(self, key: tuple[str, str], error: Exception) -> RungError:
        """What is told of a deployment that cannot be loaded; the log hears it once, though loading is tried again and again."""
        told = error if isinstance(error, RungError) else Unavailable(
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", code="serving.not_loadable", hint="Look at the server's log."
        )  # fmt: skip
        known = self.failed.get(key)
        if known is None or known.message != told.message:
            LOG.warning("deployment %s cannot be loaded: %s", key[1], told, exc_info=None if told is error else error)
        return told

    def _answer_from(self, loaded: dict[tuple[str, str], LiveDeployment], fresh: tuple[str, str] | None) -> None:
        """Replace the table, and let go of versions that are in it no more, or do not fit."""
        before, self._held = self._held, self._fitting(loaded, fresh)
        staying = {id(scoring) for live in self._held.values() for scoring in live.scorings}
        for live in (*before.values(), *loaded.values()):
            for scoring in live.scorings:
                if id(scoring) not in staying:
                    scoring.close()

    def _fitting(self, held: dict[tuple[str, str], LiveDeployment], fresh: tuple[str, str] | None) -> dict[tuple[str, str], LiveDeployment]:
        """Those that stay loaded; the others go to sleep."""
        staying = {key for key, live in held.items() if live.options.runtime.pinned or key == fresh}
        sizes = {key: size_of(_versions([live])) for key, live in held.items()}
        gone = giving_way(sizes, self._used, self.settings.serving.memory_mb << 20, staying=staying)
        if not gone:
            return held
        LOG.info("unloaded to make room: %s", ", ".join(name for _, name in gone))
        self.asleep = {**self.asleep, **{key: self._wished[key] for key in gone}}
        forget()
        return {key: live for key, live in held.items() if key not in gone}

    def _note_use(self) -> None:
        """Remember who was asked since the last look; no request pays for it."""
        now = time.monotonic()
        for key, live in self._held.items():
            if live.meter.waiting:
                self._used[key] = now

    def _made(
        self, project: str, deployment: Deployment, versions: list[ModelVersion], before: LiveDeployment | None, state: RoutingState | None
    ) -> LiveDeployment:
        begun = time.monotonic()
        scope = Scope(
            project=project, principal="", principal_kind="service", now=datetime.now(UTC), settings=self.settings, database=self.database,
            blobs=self.blobs,
        )  # fmt: skip
        made = prepared(scope, deployment, versions, before=before, state=state, log=self.log(project))
        now, changed = datetime.now(UTC), deployment.changed_at
        if changed >= self._begun:  # what was deployed before this process waited for its start, not for the swap
            seen = Swap(after_s=max(0.0, (now - changed).total_seconds()), load_ms=(time.monotonic() - begun) * 1000)
            self._swaps.setdefault((project, deployment.name, deployment.revision), seen)
        while len(self._swaps) > _MOST_SWAPS:
            self._swaps.pop(next(iter(self._swaps)))
        return made

    def _missing(self, project: str, name: str) -> LiveDeployment:
        if (project, name) in self.asleep:
            self.wake(project, name)
            return self.get(project, name)
        failure = self.failed.get((project, name))
        if failure is not None:
            raise Unavailable(
                f"Deployment {name!r} cannot answer: {failure.message}", code="serving.not_loaded", hint=failure.hint
            ) from failure
        known = ", ".join(sorted(n for p, n in self._held if p == project)) or "none"
        raise NotFound(f"There is no deployment {name!r} that answers.", code="serving.no_deployment", hint=f"Known: {known}.")


def _versions(held: Iterable[LiveDeployment]) -> list[ModelVersion]:
    return [route.version for live in held for route in live.routes]


def _wished(connection: Connection) -> tuple[list[Wish], dict[tuple[str, str], RungError]]:
    """What is deployed, with its versions; and why, where one of them is not there any more."""
    found: list[Wish] = []
    lost: dict[tuple[str, str], RungError] = {}
    for project in projects_with_deployments(connection):
        registry = RegistryStore(connection, project)
        for deployment in ServingStore(connection, project).all():
            if deployment.routes:
                try:
                    found.append((project, deployment, [registry.version(route.model, route.number) for route in deployment.routes]))
                except RungError as error:
                    lost[project, deployment.name] = error
    return found, lost


def _learned(connection: Connection) -> dict[tuple[str, str], RoutingState]:
    found: dict[tuple[str, str], RoutingState] = {}
    for project in projects_with_deployments(connection):
        found |= {(project, name): state for name, state in ServingStore(connection, project).routing_states().items()}
    return found


_TABLES: dict[tuple[str, Path], LiveTable] = {}
_tables_lock = threading.Lock()


def live_table(database: Database, blobs: BlobStore, settings: Settings) -> LiveTable:
    """The table of a platform in this process; made on first use."""
    key = (database.url, settings.home_path)
    with _tables_lock:  # two tables would load every model twice, and each would know its own log only
        held = _TABLES.get(key)
        if held is None or held.database is not database:
            _TABLES[key] = held = LiveTable(database=database, blobs=blobs, settings=settings)
            database.on_close.append(held.close)
        return held
