"""The public names of ``rung``, each loaded from its module on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "Client": "rung.client.client",
    "connect": "rung.client.client",
    "start_run": "rung.client.current",
    "end_run": "rung.client.current",
    "join_run": "rung.client.current",
    "active_run": "rung.client.current",
    "current_run": "rung.client.current",
    "flush": "rung.client.current",
    "log_param": "rung.client.current",
    "log_params": "rung.client.current",
    "log_metric": "rung.client.current",
    "log_metrics": "rung.client.current",
    "set_tag": "rung.client.current",
    "set_tags": "rung.client.current",
    "log_dataset": "rung.client.current",
    "log_artifact": "rung.client.current",
    "log_artifacts": "rung.client.attachments",
    "log_table": "rung.client.attachments",
    "log_figure": "rung.client.attachments",
    "log_text": "rung.client.attachments",
    "log_dict": "rung.client.attachments",
    "log_model": "rung.client.modelling",
    "autolog": "rung.client.autolog.switch",
    "search_runs": "rung.client.looking",
    "get_run": "rung.client.looking",
    "history": "rung.client.looking",
    "log_system_metrics": "rung.client.system",
    "tune": "rung.client.tune",
    "get_sweep": "rung.client.tune",
    "stop_sweep": "rung.client.tune",
    "Int": "rung.client.tuning.space",
    "Float": "rung.client.tuning.space",
    "Choice": "rung.client.tuning.space",
    "Trial": "rung.client.tuning.trial",
    "Pruned": "rung.client.tuning.trial",
    "register_model": "rung.client.registry",
    "DatasetRef": "rung.data.records",
    "Expectation": "rung.data.records",
    "require_valid": "rung.client.data",
    "Feature": "rung.features.records",
    "FeatureView": "rung.features.records",
    "study": "rung.client.tuning.study",
    "StudyTrial": "rung.client.tuning.study",
    "train_on_ray": "rung.client.scaling",
    "train_checkpoint": "rung.client.scaling",
    "step": "rung.pipelines.authoring",
    "pipeline": "rung.pipelines.authoring",
    "when": "rung.pipelines.branching",
    "otherwise": "rung.pipelines.branching",
    "either": "rung.pipelines.branching",
    "unmapped": "rung.pipelines.branching",
    "Param": "rung.pipelines.parameters",
    "Dataset": "rung.pipelines.artifacts",
    "Model": "rung.pipelines.artifacts",
    "Metrics": "rung.pipelines.artifacts",
    "Report": "rung.pipelines.artifacts",
    "File": "rung.pipelines.artifacts",
    "context": "rung.client.inside",
    "secret": "rung.client.inside",
    "load_ipython_extension": "rung.client.magic",
    "trigger": "rung.pipelines.declaring",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(name)
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(_EXPORTS)
