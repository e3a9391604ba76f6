"""What a step makes, in the four words other systems have: Dataset, Model, Metrics, Artifact; by the names in its annotation."""

from __future__ import annotations

import re

from rung.pipelines.tracing import Node

_SYSTEM = (
    ("Metrics", ("Metrics",)),
    ("Model", ("Model", "Pipeline", "Estimator", "Classifier", "Regressor", "Booster")),
    ("Dataset", ("Dataset", "DataFrame", "LazyFrame", "Series", "Table", "ndarray")),
)


def output_types(node: Node) -> tuple[str, ...]:
    """System types of a step's outputs, by the names in its annotation."""
    annotation = node.step.signature.return_annotation
    text = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", "")
        if isinstance(annotation, type)
        else str(annotation)
    )
    if len(node.step.outputs) > 1:
        inside = text[text.index("[") + 1 : text.rindex("]")]
        return tuple(_system(part) for part in _split(inside))
    return (_system(text),)


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _system(text: str) -> str:
    words = re.findall(r"[A-Za-z]+", text)
    return next((name for name, ends in _SYSTEM if any(word.endswith(ends) for word in words)), "Artifact")
