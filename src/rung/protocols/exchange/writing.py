"""The text of an export, by the name of the system that is to read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from rung.engine.outside import packed_code
from rung.pipelines.authoring import Pipeline
from rung.pipelines.project import Project
from rung.protocols.exchange.airflow import dag_source
from rung.protocols.exchange.kfp import pipeline_spec
from rung.protocols.exchange.kubernetes import run_manifest
from rung.protocols.exchange.plans import exported_plan, typed


def written(
    to: str, project: Project, pipeline: Pipeline[..., Any], params: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[str, tuple[str, ...]]:
    """A pipeline's text for another engine, and what its reader should know. Raises Invalid."""
    if to == "kubernetes":
        return _yaml(run_manifest(pipeline.name, params, image=given["image"], seed=given["seed"], cron=given.get("cron"))), ()
    exported = exported_plan(pipeline, params)
    if to == "airflow":
        return dag_source(
            pipeline, exported.plan, typed(pipeline, params), folder=str(project.folder), cron=given.get("cron"), seed=given["seed"]
        ), ()
    code = packed_code(project.files, project.folder) if given.get("embed_code") else ""
    return _yaml(pipeline_spec(exported, image=given["image"], seed=given["seed"], code=code)), exported.notes


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes what occurs twice twice: readers of manifests do not expect anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(document: Mapping[str, Any]) -> str:
    text: str = yaml.dump(dict(document), Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=140)
    return text
