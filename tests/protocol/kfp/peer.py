"""Runs an exported pipeline under KFP's own local runner, as a child process that has KFP's pins laid over ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PEER = ROOT / ".peers" / "kfp"
_PARSE = """
import json, sys, yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
json_format.ParseDict(yaml.safe_load(open(sys.argv[1])), pipeline_spec_pb2.PipelineSpec())
"""
_RUN = """
import json, pathlib, sys
from kfp import components, local
local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2], raise_on_error=True)
pipeline = components.load_component_from_file(sys.argv[1])
pipeline(**json.loads(sys.argv[3]))
"""


def needs_kfp() -> None:
    """Skip where KFP is not there."""
    if not (PEER / "kfp").is_dir():
        pytest.skip("KFP is not in .peers/kfp; `make test` puts it there")


def parsed(file: Path) -> None:
    """Parse the IR by KFP's own protobuf; an unknown word raises."""
    _child(_PARSE, str(file))


def ran(file: Path, work: Path, params: dict[str, Any] | None = None, *, fails: bool = False) -> dict[str, Any]:
    """Run the IR; the metrics each task logged, and the JSON outputs of tasks, by folder below the run's root."""
    root = work / "kfp"
    _child(_RUN, str(file), str(root), json.dumps(params or {}), cwd=work, fails=fails)
    found: dict[str, Any] = {"metrics": {}, "outputs": {}}
    for told in sorted(root.glob("*/**/executor_output.json")):
        answer = json.loads(told.read_text())
        task = told.parent.name
        for name, held in answer.get("artifacts", {}).items():
            for artifact in held["artifacts"]:
                if name == "logged_metrics":
                    found["metrics"] |= artifact.get("metadata", {})
                elif artifact["metadata"].get("rung_kind") == "json":
                    found["outputs"].setdefault(task, []).append(json.loads(Path(artifact["uri"]).read_text()))
    return found


def _child(source: str, *arguments: str, cwd: Path | None = None, fails: bool = False) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PEER), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PATH": path,
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, "-c", source, *arguments], env=environ, cwd=cwd, capture_output=True, text=True, timeout=280, check=False
    )
    assert (done.returncode != 0) == fails, done.stdout[-4000:] + done.stderr[-4000:]
