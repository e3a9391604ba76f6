"""Tables of tracking and the only SQL that touches them, a module a subject."""

from rung.tracking.store.artifacts import ArtifactStore
from rung.tracking.store.experiments import ExperimentStore
from rung.tracking.store.logged import LoggedStore
from rung.tracking.store.points import PointStore
from rung.tracking.store.runs import RunStore
from rung.tracking.store.search import RunSearch
from rung.tracking.store.traces import TraceStore
from rung.tracking.store.views import ViewStore

__all__ = ["ArtifactStore", "ExperimentStore", "LoggedStore", "PointStore", "RunSearch", "RunStore", "TraceStore", "ViewStore"]
