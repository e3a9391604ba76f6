"""Blocks of a deployment's page about how it answers: the graph around its model, and options that somebody set."""

from __future__ import annotations

import json

from rung.serving.graph.drawing import Part, parts
from rung.serving.graph.flow import REQUEST
from rung.serving.option_rules import described, option_at
from rung.serving.options import DeploymentOptions
from rung.ui.blocks import Charts, Table
from rung.ui.charts.dag import DagNode, dag
from rung.ui.words import MISSING, address, code

_DRAWN_APART = ("graph.", "rollout.")  # the picture, and the rollout's own facts


def answering(options: DeploymentOptions) -> list[object]:
    """The graph as a picture and the options that differ from their defaults; nothing where all is as it comes."""
    blocks: list[object] = []
    held = parts(options.graph)
    if held:
        last = held[-1].key
        blocks.append(Charts([dag("What happens to a row", [_node(part, last=part.key == last) for part in held])], "Graph"))
    plain = DeploymentOptions()
    said = [
        (code(path), _said(value), _said(default) or MISSING, words)
        for path, default, words in described()
        if not path.startswith(_DRAWN_APART) and (value := option_at(options, path)) != option_at(plain, path)
    ]
    if said:
        blocks.append(Table(("option", "value", "by default", "what it is"), said, "Options"))
    return blocks


def _node(part: Part, *, last: bool) -> DagNode:
    model, colon, number = part.detail.partition(":")
    leads = part.kind == "model" and colon and number.isdigit()
    return DagNode(
        key=part.key,
        title=part.title,
        needs=part.needs,
        state=part.kind if part.key != REQUEST else "what callers send",
        tone="accent" if last else "muted",
        href=address("models", model, number) if leads else "",
        detail=part.detail,
        whole=f"{part.title}: {part.kind}{f', {part.detail}' if part.detail else ''}",
    )


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
