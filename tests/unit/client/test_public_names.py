"""The public names are told to type checkers as they are loaded."""

from __future__ import annotations

import ast
from pathlib import Path

import rung
from rung.client.api import _EXPORTS


def test_what_the_stub_says_is_what_is_loaded() -> None:
    stub = ast.parse(Path(str(rung.__file__)).with_suffix(".pyi").read_text("utf-8"))
    said = {alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname}
    assert {name: _EXPORTS[name] for name in said} == said
    assert all(hasattr(rung, name) for name in said)
