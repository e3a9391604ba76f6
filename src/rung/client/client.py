"""The client: one attribute an area, each with that area's verbs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.client.transports import Transport, open_transport
from rung.core.settings import load_settings
from rung.pipelines.context import current_step

if TYPE_CHECKING:
    from rung.client.cache import CacheVerbs
    from rung.client.data import DataVerbs
    from rung.client.delivery import DeliveryVerbs
    from rung.client.evaluation import EvaluationVerbs
    from rung.client.features import FeaturesVerbs
    from rung.client.governance import GovernanceVerbs
    from rung.client.maturity import MaturityVerbs
    from rung.client.monitoring import MonitoringVerbs
    from rung.client.packages import PackagesVerbs
    from rung.client.pipelines import PipelinesVerbs
    from rung.client.registry import RegistryVerbs
    from rung.client.serving import ServingVerbs
    from rung.client.testing import TestingVerbs
    from rung.client.tracking import TrackingVerbs
    from rung.client.triggers import TriggersVerbs
    from rung.client.value import ValueVerbs
    from rung.client.webhooks import WebhooksVerbs


class Client:
    """Everything that can be asked of a platform; use as a context manager, or call ``close``."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @cached_property
    def governance(self) -> GovernanceVerbs:
        """Projects, principals, tokens, audit, lineage."""
        verbs: GovernanceVerbs = self._verbs("governance")
        return verbs

    @cached_property
    def data(self) -> DataVerbs:
        """Datasets, versions, profiles, expectations."""
        verbs: DataVerbs = self._verbs("data")
        return verbs

    @cached_property
    def features(self) -> FeaturesVerbs:
        """Feature views and point-in-time joins."""
        verbs: FeaturesVerbs = self._verbs("features")
        return verbs

    @cached_property
    def tracking(self) -> TrackingVerbs:
        """Experiments, runs, metrics, artifacts."""
        verbs: TrackingVerbs = self._verbs("tracking")
        return verbs

    @cached_property
    def pipelines(self) -> PipelinesVerbs:
        """Pipelines, their runs, triggers, reproduction."""
        verbs: PipelinesVerbs = self._verbs("pipelines")
        return verbs

    @cached_property
    def triggers(self) -> TriggersVerbs:
        """What starts pipelines by itself."""
        verbs: TriggersVerbs = self._verbs("triggers")
        return verbs

    @cached_property
    def cache(self) -> CacheVerbs:
        """Results of steps that runs need not make again."""
        verbs: CacheVerbs = self._verbs("cache")
        return verbs

    @cached_property
    def testing(self) -> TestingVerbs:
        """Tests of pipelines: scaffolds, runs, reports."""
        verbs: TestingVerbs = self._verbs("testing")
        return verbs

    @cached_property
    def packages(self) -> PackagesVerbs:
        """Packages of pipelines and their releases."""
        from rung.client.packages import PackagesVerbs  # noqa: PLC0415 - see _verbs

        return PackagesVerbs(self.transport, lambda: self.pipelines)

    @cached_property
    def evaluation(self) -> EvaluationVerbs:
        """Evaluations of model versions and their comparison."""
        verbs: EvaluationVerbs = self._verbs("evaluation")
        return verbs

    @cached_property
    def registry(self) -> RegistryVerbs:
        """Models, versions, aliases, gates."""
        verbs: RegistryVerbs = self._verbs("registry")
        return verbs

    @cached_property
    def serving(self) -> ServingVerbs:
        """Deployments and predictions."""
        verbs: ServingVerbs = self._verbs("serving")
        return verbs

    @cached_property
    def monitoring(self) -> MonitoringVerbs:
        """Monitors, labels, incidents, diagnoses."""
        verbs: MonitoringVerbs = self._verbs("monitoring")
        return verbs

    @cached_property
    def value(self) -> ValueVerbs:
        """Value matrix, cost ledger, decisions, rehearsal."""
        verbs: ValueVerbs = self._verbs("value")
        return verbs

    @cached_property
    def maturity(self) -> MaturityVerbs:
        """Maturity levels with their evidence."""
        verbs: MaturityVerbs = self._verbs("maturity")
        return verbs

    @cached_property
    def delivery(self) -> DeliveryVerbs:
        """Dossiers and promotion between environments."""
        verbs: DeliveryVerbs = self._verbs("delivery")
        return verbs

    @cached_property
    def webhooks(self) -> WebhooksVerbs:
        """Addresses that are told what happens."""
        verbs: WebhooksVerbs = self._verbs("webhooks")
        return verbs

    def close(self) -> None:
        """Let go of connections, files, and the executors of runs in this process."""
        if "pipelines" in self.__dict__:  # a cached property that was never asked for holds nothing
            self.pipelines.close()
        self.transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _verbs(self, area: str) -> Any:
        # Imported on first use: a script that only logs metrics never loads Polars for the data verbs.
        make: Callable[[Transport], Any] = getattr(import_module(f"rung.client.{area}"), area.capitalize() + "Verbs")
        return make(self.transport)


def connect(url: str | None = None, token: str | None = None, project: str | None = None, *, folder: Path | str | None = None) -> Client:
    """A client for a server, or for the embedded platform of a project's folder.

    Args:
        url: address of a server; default RUNG_URL or ``url`` in rung.toml; without any, the embedded platform.
        token: default RUNG_TOKEN, else the token the home keeps for its owner.
        project: project to work in; default the token's own.
        folder: where to look for rung.toml; default the working folder.

    Raises:
        Denied: the token is not good. Unavailable: nothing answers, or the home cannot be used.
    Inside a step, and with nothing given, it is the platform the step runs for, in the project of its run.
    """
    step = current_step.get()
    if step is not None and not any((url, token, project, folder)):
        if step.transport is not None:
            return Client(step.transport)
        if step.project:
            return Client(open_transport(load_settings(), step_in=step.project))
    given = {"url": url, "token": token, "project": project}
    flags = {name: value for name, value in given.items() if value is not None}
    return Client(open_transport(load_settings(Path(folder) if folder else None, flags=flags)))
