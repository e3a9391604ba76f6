"""The pages: address -> function, and the rail that leads to them."""

from __future__ import annotations

from rung.ui.blocks import PageFunction
from rung.ui.pages import audit, datasets, deployments, incidents, maturity, models, monitors, overview, pipelines, runs, value

NAVIGATION = (
    ("/", "Overview"),
    ("/maturity", "Maturity"),
    ("/datasets", "Data"),
    ("/features", "Features"),
    ("/pipelines", "Pipelines"),
    ("/runs", "Runs"),
    ("/models", "Models"),
    ("/deployments", "Deployments"),
    ("/monitors", "Monitoring"),
    ("/incidents", "Incidents"),
    ("/triggers", "Triggers"),
    ("/value", "Value"),
    ("/audit", "Audit"),
    ("/settings", "Settings"),
)
PAGES: tuple[tuple[str, PageFunction], ...] = (
    ("/", overview.overview),
    ("/maturity", maturity.maturity),
    ("/datasets", datasets.datasets),
    ("/datasets/{dataset}", datasets.dataset),
    ("/datasets/{dataset}/{number}", datasets.version),
    ("/datasets/{dataset}/{number}/diff", datasets.diff),
    ("/features", datasets.features),
    ("/features/{view}", datasets.feature),
    ("/pipelines", pipelines.pipelines),
    ("/pipelines/{pipeline}", pipelines.pipeline),
    ("/pipeline-runs/{id}", pipelines.pipeline_run),
    ("/pipeline-runs/{id}/steps/{step}", pipelines.step),
    ("/triggers", pipelines.triggers),
    ("/runs", runs.runs),
    ("/runs/{run}", runs.run),
    ("/models", models.models),
    ("/models/{model}", models.model),
    ("/models/{model}/{number}", models.version),
    ("/deployments", deployments.deployments),
    ("/deployments/{deployment}", deployments.deployment),
    ("/monitors", monitors.monitors),
    ("/monitors/{deployment}", monitors.monitor),
    ("/incidents", incidents.incidents),
    ("/incidents/{incident}", incidents.incident),
    ("/decisions/{decision}", incidents.decision),
    ("/value", value.values),
    ("/value/{model}", value.value),
    ("/audit", audit.audit),
    ("/audit/verify", audit.verify),
    ("/lineage/{kind}/{id}", audit.lineage),
    ("/predictions/{id}", audit.prediction),
    ("/settings", audit.settings),
)
