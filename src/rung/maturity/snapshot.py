"""What the queries look at: records of the floors below, read once an assessment, all at one instant of this platform.

Windows count from ``now`` by the time records were made, whatever time the data itself speaks of.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property

from rung.core.errors import NotFound
from rung.data.records import DatasetVersion, Expectation, GetExpectations
from rung.data.records import GetVersion as GetDatasetVersion
from rung.monitoring.records import GetReport, Incident, LabelBatch, ListIncidents, ListLabelBatches, ListMonitors, Monitor, MonitorReport
from rung.monitoring.sources import ask
from rung.pipelines.packaging import CheckReleases, ListReleases, Release, SymmetryReport
from rung.pipelines.records import GetPipelineRun, ListPipelineRuns, ListPipelines, PipelineInfo, PipelineRun, PipelineRunDetail
from rung.pipelines.reproducing import ListReproductions, Reproduction
from rung.pipelines.testing.records import ListTestReports, TestReport
from rung.pipelines.triggering import ListTriggerFires, ListTriggers, Trigger, TriggerFire
from rung.registry.records import ListModels, ListVerdicts, ListVersions, ModelVersion, Verdict
from rung.serving.records import (
    CanaryVerdict,
    CountServed,
    Deployment,
    ListCanaryVerdicts,
    ListDeployments,
    ListRevisions,
    Revision,
    ServedRows,
)
from rung.storage.outbox import OutboxEntry, recent
from rung.storage.scope import Scope
from rung.value.records import (
    Decision,
    Goal,
    LedgerEntry,
    ListCosts,
    ListDecisions,
    ListPolicies,
    ListRealised,
    ListReports,
    RealisedGain,
    RetrainingPolicy,
    ValueMatrix,
    ValueReport,
)
from rung.value.store import ValueStore

_MOST = 1000


class Snapshot:
    """Lazy lists of records; production means deployments in the environment ``production`` that serve something."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.now = scope.now

    def since(self, days: int) -> datetime:
        """The instant so many days ago."""
        return self.now - timedelta(days=days)

    @cached_property
    def production(self) -> tuple[Deployment, ...]:
        """Deployments of production."""
        return tuple(item for item in ask(self.scope, ListDeployments()) if item.environment == "production" and item.routes)

    @cached_property
    def served(self) -> tuple[ModelVersion, ...]:
        """Versions that answer production requests."""
        routes = {(route.model, route.number) for item in self.production for route in item.routes if route.arm == "stable"}
        return tuple(version for version in self.versions if (version.model, version.number) in routes)

    @property
    def models(self) -> tuple[str, ...]:
        """Models in production."""
        return tuple(sorted({version.model for version in self.served}))

    @cached_property
    def versions(self) -> tuple[ModelVersion, ...]:
        """Every registered version."""
        models = ask(self.scope, ListModels())
        return tuple(version for model in models for version in ask(self.scope, ListVersions(model=model.name, limit=_MOST)).items)

    @cached_property
    def pipeline_runs(self) -> tuple[PipelineRun, ...]:
        """The newest pipeline runs."""
        return ask(self.scope, ListPipelineRuns(limit=_MOST)).items

    def pipeline_run(self, run: str | None) -> PipelineRun | None:
        """A pipeline run by id."""
        return next((item for item in self.pipeline_runs if item.id == run), None)

    def detail(self, run: str) -> PipelineRunDetail:
        """A pipeline run with its steps."""
        return ask(self.scope, GetPipelineRun(id=run))

    @cached_property
    def pipelines(self) -> tuple[PipelineInfo, ...]:
        """Known pipelines."""
        return ask(self.scope, ListPipelines())

    @cached_property
    def triggers(self) -> tuple[Trigger, ...]:
        """Triggers that are not paused."""
        return tuple(item for item in ask(self.scope, ListTriggers()) if not item.paused)

    @cached_property
    def fires(self) -> tuple[TriggerFire, ...]:
        """When triggers were called upon."""
        return ask(self.scope, ListTriggerFires(limit=_MOST))

    @cached_property
    def reproductions(self) -> tuple[Reproduction, ...]:
        """Reproductions of pipeline runs."""
        return ask(self.scope, ListReproductions(limit=_MOST))

    @cached_property
    def symmetry(self) -> SymmetryReport:
        """Whether runs in production used what had succeeded before."""
        return ask(self.scope, CheckReleases())

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        """Releases to production, newest first."""
        return ask(self.scope, ListReleases(environment="production", limit=_MOST))

    @cached_property
    def test_reports(self) -> tuple[TestReport, ...]:
        """The newest reports of pipeline tests."""
        return ask(self.scope, ListTestReports(limit=200)).items

    def verdicts(self, version: ModelVersion) -> tuple[Verdict, ...]:
        """Verdicts on a version."""
        return ask(self.scope, ListVerdicts(model=version.model, number=version.number))

    def revisions(self, deployment: str) -> tuple[Revision, ...]:
        """Revisions of a deployment, newest first."""
        held = ask(self.scope, ListRevisions(deployment=deployment))
        return tuple(sorted(held, key=lambda item: item.number, reverse=True))

    def canary_verdicts(self, deployment: str) -> tuple[CanaryVerdict, ...]:
        """Judgements of canaries."""
        return ask(self.scope, ListCanaryVerdicts(deployment=deployment))

    def counts(self, deployment: str) -> tuple[ServedRows, ...]:
        """Rows served by day of the answer."""
        return ask(self.scope, CountServed(deployment=deployment))

    @cached_property
    def monitors(self) -> dict[str, Monitor]:
        """Monitors by deployment."""
        return {item.deployment: item for item in ask(self.scope, ListMonitors())}

    def monitored(self, deployment: str) -> MonitorReport | None:
        """Windows of a deployment; None without a monitor."""
        return ask(self.scope, GetReport(deployment=deployment)) if deployment in self.monitors else None

    def label_batches(self, deployment: str) -> tuple[LabelBatch, ...]:
        """Deliveries of labels."""
        return ask(self.scope, ListLabelBatches(deployment=deployment))

    @cached_property
    def incidents(self) -> tuple[Incident, ...]:
        """Every incident."""
        return ask(self.scope, ListIncidents())

    def dataset_version(self, dataset: str, number: int) -> DatasetVersion | None:
        """A dataset version, if it is still known."""
        try:
            return ask(self.scope, GetDatasetVersion(dataset=dataset, number=number))
        except NotFound:
            return None

    def expectations(self, dataset: str) -> tuple[Expectation, ...]:
        """Expectations in force."""
        try:
            return ask(self.scope, GetExpectations(dataset=dataset)).expectations
        except NotFound:
            return ()

    @cached_property
    def events(self) -> list[OutboxEntry]:
        """The newest events."""
        return recent(self.scope.connection, self.scope.project, _MOST)

    @cached_property
    def matrices(self) -> dict[str, ValueMatrix]:
        """Value matrices by model."""
        return {item.model: item for item in ValueStore(self.scope.connection, self.scope.project).newest_each(ValueMatrix)}

    @cached_property
    def goals(self) -> dict[str, Goal]:
        """Goals by model."""
        return {item.model: item for item in ValueStore(self.scope.connection, self.scope.project).goals()}

    @cached_property
    def reports(self) -> tuple[ValueReport, ...]:
        """Value reports, newest first."""
        return ask(self.scope, ListReports(limit=_MOST))

    @cached_property
    def costs(self) -> tuple[LedgerEntry, ...]:
        """The cost ledger."""
        return ask(self.scope, ListCosts())

    @cached_property
    def policies(self) -> dict[str, RetrainingPolicy]:
        """Retraining policies by model."""
        return {item.model: item for item in ask(self.scope, ListPolicies())}

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Decisions, newest first."""
        return ask(self.scope, ListDecisions(limit=_MOST))

    @cached_property
    def realised(self) -> tuple[RealisedGain, ...]:
        """Realised gains."""
        return ask(self.scope, ListRealised())
