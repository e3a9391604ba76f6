"""A store of ML Metadata that we wrote is read by its own library, and can be added to by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rung.client.client import Client
from rung.core.errors import AlreadyExists
from rung.engine.history import history_of
from rung.protocols.exchange.mlmd import write_store
from tests.protocol.lineage_project import prepared, ran

PEER = Path(__file__).resolve().parents[3] / ".peers" / "ml-metadata"
_READ = """
import json, sys
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb
config = pb.ConnectionConfig(); config.sqlite.filename_uri = sys.argv[1]; config.sqlite.connection_mode = 2
store = metadata_store.MetadataStore(config)
run = store.get_context_by_type_and_name('rung.PipelineRun', sys.argv[2])
names = {v: k for k, v in pb.Execution.State.items()}
artifacts = {a.id: a for a in store.get_artifacts_by_context(run.id)}
found = []
for execution in store.get_executions_by_context(run.id):
    events = store.get_events_by_execution_ids([execution.id])
    found.append({
        'step': execution.properties['step'].string_value, 'state': names[execution.last_known_state],
        'inputs': sorted(artifacts[e.artifact_id].uri for e in events if e.type == pb.Event.INPUT),
        'outputs': [(e.path.steps[0].key, e.path.steps[1].index, artifacts[e.artifact_id].id) for e in events if e.type == pb.Event.OUTPUT],
    })
dataset = store.get_artifacts_by_type('rung.Dataset')
print(json.dumps({
    'executions': found, 'params': run.properties['params'].string_value, 'types': [t.name for t in store.get_artifact_types()],
    'versions': sorted(a.uri for a in dataset if 'dataset_version' in a.uri), 'rows': [a.properties['rows'].int_value for a in dataset][:1],
    'by_external_id': store.get_contexts_by_external_ids([sys.argv[3]])[0].name,
    'base': store.get_artifact_type('rung.Dataset').base_type,
}))
new = pb.Artifact(type_id=store.get_artifact_type('rung.Dataset').id, uri='more'); new.properties['name'].string_value = 'more'
store.put_artifacts([new])
"""


def test_the_library_reads_runs_steps_artifacts_and_contexts(client: Client, tmp_path: Path) -> None:
    if not (PEER / "ml_metadata").is_dir():
        pytest.skip("ml-metadata is not in .peers; `make test` puts it there")
    prepared(client)
    first, second = ran(client), ran(client, times=3)
    file = tmp_path / "store.db"
    assert write_store(file, [history_of(client.transport, run.id) for run in (first, second)]) == 6
    told = {run.number: _read(file, run.number, run.id) for run in (first, second)}
    steps = {held["step"]: held for held in told[1]["executions"]}
    again = {held["step"]: held for held in told[2]["executions"]}
    assert {name: held["state"] for name, held in steps.items()} == {"": "COMPLETE", "rows": "COMPLETE", "total": "COMPLETE"}
    assert {name: held["state"] for name, held in again.items()} == {"": "COMPLETE", "rows": "CACHED", "total": "COMPLETE"}
    # the cached step made the same artifacts
    assert [o[:2] for o in steps["rows"]["outputs"]] == [["output_0", 0], ["output_1", 1]]
    assert steps["rows"]["outputs"] == again["rows"]["outputs"]
    assert len(steps["total"]["inputs"]) == 1
    assert steps[""]["inputs"] == ["rung://dataset_version/numbers:1"] == told[1]["versions"]
    assert json.loads(told[2]["params"])["times"] == 3
    assert told[1]["by_external_id"] == "lineage:1"
    assert {"rung.Dataset", "rung.Artifact"} <= set(told[1]["types"])


def test_a_file_that_is_there_is_not_written_over(client: Client, tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    with pytest.raises(AlreadyExists):
        write_store(tmp_path / "store.db", [])


def _read(file: Path, number: int, run: str) -> dict:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PEER), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _READ, str(file), f"lineage:{number}", run],
        env=environ, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
