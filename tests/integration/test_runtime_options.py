"""Engine and device of a deployment's runtime: what is asked for is what answers, and what cannot be is refused before."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.errors import Conflict, Invalid
from rung.registry.engine_records import CompileVersion
from rung.serving.configuring_records import Configure, PlanChange
from rung.serving.live import LiveDeployment, live_table
from rung.serving.options import DeploymentOptions, RuntimeOptions

FRAME = pl.DataFrame({name: np.random.default_rng(place).normal(size=60) for place, name in enumerate("abc")})
LABELS = FRAME.to_numpy().sum(axis=1) > 0


def _live(transport: LocalTransport) -> LiveDeployment:
    platform = transport.platform
    return live_table(platform.database, platform.blobs, platform.settings).get(transport.caller().project, "d")


@pytest.fixture
def deployed(client: Client) -> Client:
    client.registry.register("m", LogisticRegression().fit(FRAME.to_numpy(), LABELS), example=FRAME, label="y")
    forest = RandomForestClassifier(5, random_state=0).fit(FRAME.to_numpy(), LABELS)
    client.registry.register("m", forest, example=FRAME, label="y")
    client.serving.deploy("d", "m", 1, environment="dev")
    return client


def _set(client: Client, **runtime: Any) -> None:
    client.transport.call(Configure(deployment="d", set={f"runtime.{name}": value for name, value in runtime.items()}))


def test_the_engine_that_is_named_answers(deployed: Client, transport: LocalTransport) -> None:
    assert _live(transport).stable.predictor.engine == "affine"
    for engine, found in (("native", "native"), ("affine", "affine")):
        _set(deployed, engine=engine)
        assert _live(transport).stable.predictor.engine == found
    _set(deployed, engine="native", isolated=True)
    assert _live(transport).stable.predictor.engine == "isolated native"
    _set(deployed, engine="affine")
    assert _live(transport).stable.predictor.engine == "isolated affine"


def test_an_engine_that_does_not_serve_the_version_is_refused(deployed: Client, transport: LocalTransport) -> None:
    for engine in ("trees", "warp"):
        with pytest.raises(Conflict, match=f"m:1 is served by 'affine', not by '{engine}'"):
            _set(deployed, engine=engine)
        fields = {"deployment": "d", "set": {"runtime.engine": engine}}
        with pytest.raises(Conflict, match="is served by"):
            deployed.transport.call(PlanChange(verb="configure", fields=fields))
    assert _live(transport).options.runtime.engine == ""
    _set(deployed, engine="affine")
    with pytest.raises(Conflict, match="m:2 is served by 'trees', not by 'affine'"):
        deployed.serving.start_canary("d", 2, share=0.5)


def test_the_way_back_is_open_though_a_version_was_compiled_otherwise_since(deployed: Client, transport: LocalTransport) -> None:
    _set(deployed, engine="affine")
    _set(deployed, engine="")
    deployed.transport.call(CompileVersion(model="m", number=1, engine="native"))
    deployed.serving.rollback("d", to=2)
    assert _live(transport).options.runtime.engine == "affine"
    assert deployed.serving.predict("d", FRAME).height == 60


def test_a_device_is_refused_where_the_format_has_no_use_for_it_or_it_is_none(deployed: Client) -> None:
    for isolated in (False, True):
        with pytest.raises(Invalid, match="computes on the processor, not on 'cuda:0'"):
            _set(deployed, device="cuda:0", isolated=isolated)
    with pytest.raises(Invalid, match="device"):
        _set(deployed, device="gpu7")
    _set(deployed, device="cpu")
    assert deployed.serving.predict("d", FRAME).height == 60


def test_a_device_that_is_not_there_is_told(client: Client, transport: LocalTransport) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.device_count() > 99:
        pytest.skip("has a hundred GPUs")
    module = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Sigmoid()).eval()
    client.registry.register("t", module, example=FRAME, label="y", format="torch")
    expected = module(torch.tensor(FRAME.to_numpy(), dtype=torch.float32)).detach().numpy()[:, 0]
    for isolated in (False, True):
        runtime = RuntimeOptions(device="cpu", isolated=isolated, engine="native")
        client.serving.deploy("d", "t", 1, environment="dev", options=DeploymentOptions(runtime=runtime))
        np.testing.assert_allclose(client.serving.predict("d", FRAME)["score"].to_numpy(), expected, rtol=1e-5)
        name = f"apart-{isolated}".lower()
        runtime = RuntimeOptions(device="cuda:99", isolated=isolated)
        client.serving.deploy(name, "t", 1, environment="dev", options=DeploymentOptions(runtime=runtime))
        with pytest.raises(Exception, match="There is no device 'cuda:99' here"):
            client.serving.predict(name, FRAME)
