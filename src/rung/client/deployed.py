"""Reproducing what is deployed: every version that answers now, traced to the run that made it, and run again."""

from __future__ import annotations

from collections.abc import Callable

from rung.client.transports import Transport
from rung.core.errors import RungError
from rung.pipelines.reproducing import DeployedVersion, FileReproductionReport, Reproduction, ReproductionReport
from rung.registry.records import GetVersion
from rung.serving.records import ListDeployments

Told = Callable[[DeployedVersion, Reproduction | None], None]


def reproduce_deployed(
    transport: Transport,
    reproduce: Callable[[str], Reproduction],
    *,
    tolerance: float,
    environment: str | None = None,
    told: Told | None = None,
) -> ReproductionReport:
    """Reproduce the run behind every deployed version and file the report; a version that cannot be is entered with the reason."""
    done: dict[str, Reproduction] = {}
    versions = []
    for version in deployed_versions(transport, environment):
        found = None
        entry = version
        if version.pipeline_run is not None and not version.problem:
            try:
                found = done.get(version.pipeline_run) or reproduce(version.pipeline_run)
            except RungError as error:
                entry = _changed(version, problem=str(error)[:1000])
            else:
                done[version.pipeline_run] = found
                entry = _changed(version, reproduction=found.id)
        versions.append(entry)
        if told is not None:
            told(entry, found)
    return transport.call(FileReproductionReport(versions=tuple(versions), tolerance=tolerance))


def deployed_versions(transport: Transport, environment: str | None = None) -> list[DeployedVersion]:
    """Every model version behind a deployment now, in one environment or in all, with the pipeline run it comes from."""
    found = []
    for deployment in transport.call(ListDeployments()):
        if environment is not None and deployment.environment != environment:
            continue
        for route in deployment.routes:
            run, problem = None, ""
            try:
                run = transport.call(GetVersion(model=route.model, number=route.number)).pipeline_run_id
            except RungError as error:
                problem = str(error)[:1000]
            if run is None and not problem:
                problem = "It was not made by a pipeline run, so there is nothing to run again."
            found.append(
                DeployedVersion(
                    deployment=deployment.name, environment=deployment.environment, model=route.model, number=route.number,
                    pipeline_run=run, problem=problem,
                )
            )  # fmt: skip
    return found


def _changed(version: DeployedVersion, *, reproduction: str | None = None, problem: str = "") -> DeployedVersion:
    return DeployedVersion(
        deployment=version.deployment, environment=version.environment, model=version.model, number=version.number,
        pipeline_run=version.pipeline_run, reproduction=reproduction, problem=problem,
    )  # fmt: skip
