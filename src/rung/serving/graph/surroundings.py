"""The place a deployment's graph lives in: versions, feature views, profiles and counters of one project."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, TypeVar

from rung.core.errors import Conflict
from rung.data.records import Profile
from rung.features.records import AppliedView, ViewRef
from rung.registry.records import ModelVersion
from rung.registry.rules import check_servable
from rung.registry.store import RegistryStore
from rung.serving.graph.counting import FileCounter
from rung.serving.graph.family import Counter, Features, Micros
from rung.storage.scope import Scope

if TYPE_CHECKING:
    import polars as pl

    from rung.features.sources import Opened

T = TypeVar("T")
_FRESH_S = 5.0


@dataclass(frozen=True)
class PlatformSurroundings:
    """A project of a platform; ``scope`` may be inside a transaction or not, and is kept only for what comes later."""

    scope: Scope
    deployment: str
    own: ModelVersion

    def version(self, model: str, number: int) -> ModelVersion:
        """A version that can be loaded. Raises NotFound, Conflict."""
        found = self._read(lambda s: RegistryStore(s.connection, s.project).version(model, number))
        if found.deleted_at is not None:
            raise Conflict(
                f"{model}:{number} is deleted.", code="registry.deleted", hint=f"`rung model restore {model} {number}`, or name another."
            )
        check_servable(found)
        return found

    def alias(self, model: str, alias: str) -> int:
        """The number an alias stands on now. Raises NotFound."""
        return self._read(lambda s: RegistryStore(s.connection, s.project).alias(model, alias))

    def view(self, name: str, number: int | None) -> AppliedView:
        """A feature view. Raises NotFound."""
        from rung.features.store import FeatureStore  # noqa: PLC0415 - only graphs that look features up

        return self._read(lambda s: FeatureStore(s.connection, s.project).view(name, number))

    def dtypes(self, view: AppliedView) -> Mapping[str, str]:
        """Types of the columns of the newest version of a view's dataset."""
        from rung.data.lookup import version_of  # noqa: PLC0415 - see above

        return {column.name: column.dtype for column in version_of(self.scope, view.view.dataset).schema}

    def features(self, view: AppliedView) -> Callable[[pl.DataFrame, Micros], Features]:
        """What looks features of a view up; which dataset version is the newest is asked every few seconds, beside the answers."""
        return _Online(_later(self.scope), ViewRef(name=view.view.name, number=view.number)).at

    def profile(self, dataset: str, number: int | None) -> Profile:
        """Statistics of a dataset version, made now if nobody asked before. Raises NotFound."""
        from rung.data.lookup import version_of  # noqa: PLC0415 - see above
        from rung.data.operations import profile_of  # noqa: PLC0415 - loads Polars

        return profile_of(_later(self.scope), version_of(self.scope, dataset, number))

    def rows(self, dataset: str, number: int | None, columns: Sequence[str], most: int) -> pl.DataFrame:
        """At most so many rows of a dataset version, taken at equal distances. Raises NotFound, Invalid."""
        from rung.data.frames import scan  # noqa: PLC0415 - loads Polars
        from rung.data.lookup import version_of  # noqa: PLC0415 - see above

        version = version_of(self.scope, dataset, number)
        step = max(1, -(-(version.rows or 0) // most))
        held = {column.name for column in version.schema}
        return scan(self.scope.blobs, version).select([name for name in columns if name in held]).gather_every(step).head(most).collect()

    def example(self, version: ModelVersion) -> pl.DataFrame | None:
        """The rows a version was registered with; None when none were kept."""
        if not version.input_example:
            return None
        import polars as pl  # noqa: PLC0415 - only where somebody asks for an explanation

        return pl.read_parquet(BytesIO(self.scope.blobs.get(version.input_example)))

    def counter(self, node: str) -> Counter:
        """The counter of a node, shared by the processes of this machine."""
        return FileCounter.of(self.scope.home / "serving" / "counters" / self.scope.project, f"{self.deployment}.{node}")

    def _read(self, work: Callable[[Scope], T]) -> T:
        return work(self.scope) if self.scope.open_connection is not None else self.scope.read(work)


class _Online:
    """A feature view kept ready: opened once, and again in the background when it is a few seconds old."""

    def __init__(self, scope: Scope, ref: ViewRef) -> None:
        self._scope = scope
        self._ref = ref
        self._lock = threading.Lock()
        self._held: Opened | None = None
        self._opened_at = 0.0

    def at(self, keys: pl.DataFrame, times: Micros) -> Features:
        """Features of the keys at their instants. Raises Unavailable when the store does not answer on the first ask."""
        held = self._current()
        found = held.source.at(keys, times)
        return Features(columns=found.columns, events_us=found.events, present=found.present)

    def _current(self) -> Opened:
        held = self._held
        if held is None:
            with self._lock:
                return self._held or self._open()
        if time.monotonic() - self._opened_at > _FRESH_S and self._lock.acquire(blocking=False):
            self._opened_at = time.monotonic()
            try:
                threading.Thread(target=self._again, name="rung-features", daemon=True).start()
            except RuntimeError:  # no thread is left; the next ask that finds it old tries again
                self._lock.release()
        return held

    def _again(self) -> None:
        try:
            self._open()
        finally:
            self._lock.release()

    def _open(self) -> Opened:
        from rung.features.sources import opened  # noqa: PLC0415 - loads Polars

        self._held = opened(self._scope, [self._ref])[0]
        self._opened_at = time.monotonic()
        return self._held


def _later(scope: Scope) -> Scope:
    """The scope without the transaction that is open now: what is asked after it must open its own."""
    return scope.over(None)
