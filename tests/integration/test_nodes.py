"""Inference nodes: processes that follow a platform over HTTP, serve without it, and ship what they answered exactly once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from rung.client.transports import HttpTransport
from rung.core.errors import Denied
from rung.serving.records import ListDeployments
from tests.integration.noding import NAME, Load, Nodes, Program, body, platform_with_model
from tests.servers import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    made = platform_with_model(tmp_path_factory.mktemp("nodes"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def node(held: Nodes) -> Iterator[Program]:
    made = held.node("one")
    made.start()
    yield made
    made.kill()


def _ask(node: Program, token: str, key: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.post(f"{node.url}/v2/models/{NAME}/infer", json=body(key), headers=headers, timeout=30)


def _arrived(held: Nodes, load: Load) -> Counter[str]:
    """Ids of a load in the platform's log, once all that was answered is there."""
    mine = load.answered[0].partition("-")[0] + "-"
    wait_until(lambda: set(load.answered) <= set(held.logged()), 120, lambda: f"{len(set(load.answered) - set(held.logged()))} are missing")
    return Counter(key for key in held.logged() if key.startswith(mine))


def test_a_node_answers_and_its_answers_are_in_the_platforms_log(held: Nodes, node: Program) -> None:
    assert _ask(node, held.caller_token, "first").json()["model_version"] == "1"
    wait_until(lambda: "first" in held.logged(), 60, lambda: "it does not arrive")
    row = held.client.serving.query_predictions(NAME, ids=["first"]).rows[0]
    assert (row["caller"], row["version"], row["x0"]) == ("app", 1, 0.5)


def test_a_change_is_served_within_a_moment_and_the_platform_knows_who_serves_it(held: Nodes, node: Program) -> None:
    revision = held.client.serving.deploy(NAME, NAME, 2, environment="staging")
    wait_until(lambda: _ask(node, held.caller_token, "second").json().get("model_version") == "2", 60, lambda: "it does not follow")
    wait_until(
        lambda: [s.revision for n in held.client.serving.nodes(NAME) for s in n.state.serves] == [revision.number], 60, lambda: "untold"
    )
    held.client.serving.deploy(NAME, NAME, 1, environment="staging")


def test_strangers_are_refused_and_a_nodes_token_opens_nothing_else(held: Nodes, node: Program) -> None:
    assert _ask(node, "rung_guess", "stranger").status_code == 401
    assert _ask(node, held.node_token, "itself").status_code == 403
    with pytest.raises(Denied):
        HttpTransport(held.platform.url, held.node_token).call(ListDeployments())
    with pytest.raises(Denied):
        HttpTransport(held.platform.url, held.node_token).get_blob("blake3:" + "0" * 64)


def test_kills_of_node_and_platform_lose_no_answer_and_double_none(held: Nodes) -> None:
    node = held.node("killed")
    node.start()
    load = Load(node, held.caller_token, "kill")
    load.until(60)
    node.kill()
    node.start()
    load.until(120)
    held.platform.kill()
    load.until(240)  # the platform is away, and callers it has admitted are answered
    assert httpx.get(f"{node.url}/readyz", timeout=60).json()["ready"]
    node.kill()
    node.start()  # a start without a platform serves what was deployed before
    load.until(300)
    held.platform.start()
    load.until(360)
    load.stop()
    found = _arrived(held, load)
    assert set(found.values()) == {1}
    assert node.stop() == 0
    assert not list((node.folder / ".rung" / "node" / "predictions").glob("*/*.seg"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_kills_lose_nothing(held: Nodes) -> None:
    node = held.node("many", "--workers", "2")
    node.start()
    load = Load(node, held.caller_token, "many", threads=8)
    for turn in range(12):
        load.until(len(load.answered) + 150)
        victim = (node, held.platform)[turn % 2]
        victim.kill()
        time.sleep(0.1 * turn)
        if victim is held.platform:
            load.until(len(load.answered) + 50)
        victim.start()
    load.stop()
    assert set(_arrived(held, load).values()) == {1}
    assert node.stop() == 0


def test_a_first_start_says_what_keeps_it(held: Nodes) -> None:
    for name, environ, words in (
        ("wrong", {"RUNG_TOKEN": "rung_guess"}, "unknown, expired or revoked"),
        ("away", {"RUNG_URL": "http://127.0.0.1:9"}, "first start"),
        ("viewer", {"RUNG_TOKEN": held.caller_token}, "may not serving.follow"),
    ):
        program = held.node(name)
        program.environ |= environ
        program.start(ready=False)
        assert program.process is not None
        assert program.process.wait(120) == 1
        assert words in program.log.read_text()
