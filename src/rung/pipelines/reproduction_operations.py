"""Handlers of reproductions."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rung.core.errors import Conflict, NotFound
from rung.core.ids import new_id
from rung.core.requests import handles
from rung.governance.lineage import link, node
from rung.pipelines import records as r
from rung.pipelines import reproducing as p
from rung.pipelines.reproduction_store import ReproductionStore
from rung.pipelines.starting import start
from rung.pipelines.store import PipelineStore
from rung.storage.scope import Scope


@handles(p.Reproduce)
def reproduce(request: p.Reproduce, scope: Scope) -> r.PipelineRun:
    """The queued re-execution. Raises Conflict for a run that did not succeed or has no code snapshot, NotFound for a step."""
    store = PipelineStore(scope.connection, scope.project)
    original = store.run(request.id)
    if original.status != "succeeded":
        raise Conflict(
            f"Pipeline run {original.id} has {original.status}; only a succeeded one can be reproduced.",
            code="pipelines.not_reproducible",
            hint="Choose a run that succeeded.",
        )
    if not original.code:
        raise Conflict(
            f"Pipeline run {original.id} has no snapshot of its code.",
            code="pipelines.no_code",
            hint="Run pipelines from a project folder.",
        )
    known = [spec.key for spec in original.steps]
    if strange := [key for key in request.repeat if key not in known]:
        raise NotFound(f"Run {original.id} has no step {strange[0]!r}.", code="pipelines.no_step", hint=f"It has: {', '.join(known)}.")
    wish = r.RunPipeline(
        pipeline=original.pipeline, params=original.params, seed=original.seed, use_cache=False, held=request.held, package=original.package,
        environment=original.environment,
        cause=r.Cause(kind="reproduction", subject=original.id, reason=f"Is run {original.pipeline}:{original.number} repeatable?"),
    )  # fmt: skip
    payload = {
        "tolerance": request.tolerance, "with_effects": request.with_effects, "repeat": list(request.repeat), "network": request.network,
        "rebuild": request.rebuild,
    }  # fmt: skip
    return start(scope, wish, reproduces=original.id, payload=payload)


@handles(p.ListReproductions)
def list_reproductions(request: p.ListReproductions, scope: Scope) -> tuple[p.Reproduction, ...]:
    """Reproductions, newest first."""
    return _store(scope).reproductions(request.pipeline_run, request.limit)


@handles(p.GetReproduction)
def get_reproduction(request: p.GetReproduction, scope: Scope) -> p.Reproduction:
    """A reproduction by id. Raises NotFound."""
    return _store(scope).reproduction(request.id)


@handles(p.FileReproductionReport)
def file_reproduction_report(request: p.FileReproductionReport, scope: Scope) -> Callable[[Scope], p.ReproductionReport]:
    """The report. Raises NotFound for a reproduction that is not here; Conflict for one of another run."""
    entries = scope.read(lambda s: tuple(_entry(s, version) for version in request.versions))
    holds = bool(entries) and all(entry.likeness in {"identical", "equivalent"} for entry in entries)
    plainly = {"entries": msgspec.to_builtins(entries), "tolerance": request.tolerance, "holds": holds, "at": scope.now.isoformat()}
    digest = scope.blobs.put(msgspec.json.encode(plainly, order="sorted"))

    def save(inside: Scope) -> p.ReproductionReport:
        report = p.ReproductionReport(
            id=new_id(), created_at=inside.now, created_by=inside.who, tolerance=request.tolerance, holds=holds, entries=entries,
            digest=digest,
        )  # fmt: skip
        _store(inside).add_report(report)
        for entry in entries:
            if entry.version.reproduction:
                link(inside, node("reproduction", entry.version.reproduction), "reported_in", node("reproduction_report", report.id))
        return report

    return save


@handles(p.ListReproductionReports)
def list_reproduction_reports(request: p.ListReproductionReports, scope: Scope) -> tuple[p.ReproductionReport, ...]:
    """Reports, newest first."""
    return _store(scope).reports(request.limit)


def _entry(scope: Scope, version: p.DeployedVersion) -> p.DeployedReproduction:
    if version.reproduction is None:
        return p.DeployedReproduction(version=version, problem=version.problem or "It was not reproduced.")
    found = _store(scope).reproduction(version.reproduction)
    if found.pipeline_run != version.pipeline_run:
        raise Conflict(
            f"Reproduction {found.id} is of pipeline run {found.pipeline_run}, not of {version.pipeline_run}.",
            code="pipelines.other_run",
            hint="Reproduce the run that the version comes from.",
        )
    return p.DeployedReproduction(
        version=version, likeness=found.likeness, first_diverging_step=found.first_diverging_step, changes=found.changes,
        problem=version.problem,
    )  # fmt: skip


def _store(scope: Scope) -> ReproductionStore:
    return ReproductionStore(scope.connection, scope.project)
