"""Exported Kubernetes manifests are what the API's own schemas allow."""

from __future__ import annotations

import pytest
import yaml

from rung.protocols.exchange.kubernetes import run_manifest
from rung.protocols.exchange.writing import _yaml

validator = pytest.importorskip("kubernetes_validate")
PARAMS = {"rows": 3, "names": ["a", "b"], "loud": True, "word": "it's"}


@pytest.mark.parametrize("cron", [None, "0 6 * * 1"])
def test_the_manifest_of_a_run_is_valid(cron: str | None) -> None:
    manifest = yaml.safe_load(_yaml(run_manifest("Odd_name.of-pipeline" * 4, PARAMS, image="example/rung:1", cron=cron)))
    assert manifest["kind"] == ("CronJob" if cron else "Job")
    validator.validate(manifest, "1.30", strict=True)


def test_a_misspelt_key_is_noticed() -> None:
    manifest = run_manifest("train", {}, image="example/rung:1")
    manifest["spec"]["backofLimit"] = 1
    with pytest.raises(Exception, match="backofLimit"):
        validator.validate(manifest, "1.30", strict=True)


def test_parameters_are_words_that_the_command_line_reads_back() -> None:
    manifest = run_manifest("train", PARAMS, image="example/rung:1")
    command = manifest["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[5:] == ["-p", "rows=3", "-p", 'names=["a", "b"]', "-p", "loud=true", "-p", "word=it's"]
    assert "&id" not in _yaml(manifest)
