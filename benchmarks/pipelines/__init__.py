"""Pipelines beside Metaflow, ZenML, Dagster and Kubeflow Pipelines' local runner: the same twenty steps, whole commands, CPU seconds."""
