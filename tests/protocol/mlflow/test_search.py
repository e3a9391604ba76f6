"""Search of runs and experiments with MLflow's filters, orders and pages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType

from tests.protocol.mlflow.conftest import Served, Wire, both

pytestmark = pytest.mark.xdist_group("mlflow-search")
Ten = tuple[str, list[str]]


@pytest.fixture(scope="session")
def tens() -> dict[str, Ten]:
    """What ``ten`` made on each server."""
    return {}


@pytest.fixture
def ten(server: Served, tens: dict[str, Ten]) -> Ten:
    """Experiment and run ids of r0..r9: score = i/10, NaN for r8 and absent from r9; r0..r4 family 'tree', the rest 'Linear'."""
    if server.url not in tens:
        client = MlflowClient()
        experiment = client.create_experiment(f"search-{time.time_ns()}")
        ids = []
        for i in range(10):
            run = client.create_run(experiment, run_name=f"r{i}", start_time=1_000_000 + i).info.run_id
            score = [] if i == 9 else [Metric("score", math.nan if i == 8 else i / 10, 1000, 0)]
            params = [Param("family", "tree" if i < 5 else "Linear"), Param("depth", str(i))]
            tags = [RunTag("even", "yes")] if i % 2 == 0 else []
            client.log_batch(run, [*score, Metric("val/loss a", float(-i), 1000, 0)], params, tags)
            client.set_terminated(run, "FINISHED" if i < 7 else "FAILED", end_time=2_000_000 + i)
            ids.append(run)
        tens[server.url] = experiment, ids
    return tens[server.url]


@pytest.fixture
def found(mlflow_client: MlflowClient, ten: Ten) -> Callable[[str], str]:
    """Digits of the runs a filter finds, in order of their names."""
    return lambda text: "".join(sorted(r.info.run_name[1:] for r in mlflow_client.search_runs([ten[0]], text)))


# NaN meets no comparison here; MLflow's own server lets it meet `!=`.
@both
@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("", "0123456789"),
        ("metrics.score = 0.5", "5"),
        ("metrics.score != 0.5", "0123467"),
        ("metrics.score > 0.5", "67"),
        ("metrics.score >= 0.5", "567"),
        ("metrics.score < 0.2", "01"),
        ("metrics.score <= 0.2", "012"),
        ("metrics.score > -1e3", "01234567"),
        ("metric.score > 0.5", "67"),
        ("params.family = 'tree'", "01234"),
        ('params.family = "tree"', "01234"),
        ("params.family != 'tree'", "56789"),
        ("params.family LIKE 'Lin%'", "56789"),
        ("params.family LIKE 'lin%'", ""),
        ("params.family ILIKE 'lin%'", "56789"),
        ("params.family ilike '%EE'", "01234"),
        ("parameters.depth = '3'", "3"),
        ("tags.even = 'yes'", "02468"),
        ("tag.even LIKE 'y%'", "02468"),
        ("tags.even != 'no'", "02468"),
        ("tags.even IS NOT NULL", "02468"),
        ("tags.even IS NULL", "13579"),
        ("params.nothing IS NULL", "0123456789"),
        ("attributes.status = 'FAILED'", "789"),
        ("status != 'FAILED'", "0123456"),
        ("attr.status = 'FINISHED' AND metrics.score > 0.4", "56"),
        ("attributes.run_name = 'r4'", "4"),
        ("run_name LIKE 'r%'", "0123456789"),
        ("run_name ILIKE 'R3'", "3"),
        ("attributes.start_time >= 1000008", "89"),
        ("attributes.end_time < 2000002", "01"),
        ("metrics.`val/loss a` < -7", "89"),
        ('metrics."val/loss a" < -7', "89"),
        ("metrics.score > 0.1 AND params.family = 'tree' and tags.even = 'yes'", "24"),
        ("metrics.score > 0.5 AND metrics.score < 0.65", "6"),
        ("metrics.unknown > 0", ""),
        ("params.family = 'it''s'", ""),
        ('params.family = "tree\' OR \'1\'=\'1"', ""),
        ("params.family LIKE '%_inear'", "56789"),
        ("params.family LIKE 'L_near'", "56789"),
    ],
)  # fmt: skip
def test_a_filter_finds_its_runs(found: Callable[[str], str], text: str, runs: str) -> None:
    assert found(text) == runs


@both
def test_run_ids_are_found_in_a_list(found: Callable[[str], str], ten: Ten) -> None:
    first, second = ten[1][2], ten[1][7]
    assert found(f"attributes.run_id IN ('{first}', '{second}')") == "27"
    assert found(f"attributes.run_id NOT IN ('{first}', '{second}')") == "01345689"
    assert found(f"run_id = '{first}'") == "2"


@both
@pytest.mark.parametrize(
    "text",
    [
        "metrics.score >", "unknown.key = 1", "metrics.score LIKE '1'", "params.depth = 3", "metrics.score = 'a'",
        "metrics.score > 0 OR metrics.score < 1", "NOT metrics.score > 0", "(metrics.score > 0)", "attributes.nothing = 'x'",
        "metrics.score IS NULL", "score", "metrics. > 1", "params.family = 'open", "AND", "metrics.score > 1 AND",
        "metrics.score > 1; DROP TABLE run", "attributes.status > 'FAILED'", "attributes.run_id IN ('a', 3)", "attributes.run_id IN ()",
    ],
)  # fmt: skip
def test_bad_filters_are_refused(mlflow_client: MlflowClient, ten: Ten, refused: Callable, text: str) -> None:
    refused("INVALID_PARAMETER_VALUE", mlflow_client.search_runs, [ten[0]], text)


@pytest.mark.parametrize(
    "text", ["metrics.score > " + "9" * 400, "((" * 5000, "metrics.a > 1 AND " * 3000 + "metrics.a > 1", "params.a = '\0'"]
)
def test_hostile_filters_end_in_an_answer_below_500(wire: Wire, ten: Ten, text: str) -> None:
    assert wire.post("runs/search", {"experiment_ids": [ten[0]], "filter": text}).status_code < 500


@pytest.mark.parametrize("order", ["metrics.nothing BACKWARDS", "unknown.key", "metrics.score ASC DESC", "", "metrics."])
def test_bad_orders_are_refused(mlflow_client: MlflowClient, ten: Ten, refused: Callable, order: str) -> None:
    refused("INVALID_PARAMETER_VALUE", mlflow_client.search_runs, [ten[0]], order_by=[order])


@both
@pytest.mark.parametrize(
    ("order", "runs"),
    [
        ([], "9876543210"),
        (["attributes.start_time ASC"], "0123456789"),
        (["start_time DESC"], "9876543210"),
        (["metrics.score ASC"], "0123456789"),
        (["metrics.score DESC"], "7654321089"),
        (["metrics.`val/loss a`"], "9876543210"),
        (["params.family DESC", "metrics.score ASC"], "0123456789"),
        (["tags.even ASC", "attributes.start_time ASC"], "0246813579"),
        (["attributes.run_name DESC"], "9876543210"),
        (["attributes.end_time DESC"], "9876543210"),
        (["attributes.status ASC", "attributes.start_time ASC"], "7890123456"),
    ],
)  # fmt: skip
def test_runs_come_in_the_order_asked_for(mlflow_client: MlflowClient, ten: Ten, order: list[str], runs: str) -> None:
    assert "".join(r.info.run_name[1:] for r in mlflow_client.search_runs([ten[0]], order_by=order)) == runs


@both
@pytest.mark.parametrize(
    "order", [[], ["metrics.score DESC"], ["metrics.score ASC"], ["params.family ASC"], ["tags.even DESC", "metrics.score"]]
)
@pytest.mark.parametrize("size", [1, 3, 10])
def test_pages_hold_every_run_once(mlflow_client: MlflowClient, ten: Ten, order: list[str], size: int) -> None:
    page = mlflow_client.search_runs([ten[0]], order_by=order, max_results=size)
    seen = [r.info.run_id for r in page]
    while page.token:
        page = mlflow_client.search_runs([ten[0]], order_by=order, max_results=size, page_token=page.token)
        seen += [r.info.run_id for r in page]
        assert len(page) <= size
        assert len(seen) <= 10
    assert seen == [r.info.run_id for r in mlflow_client.search_runs([ten[0]], order_by=order)]
    assert sorted(seen) == sorted(ten[1])


def test_a_found_run_is_complete(mlflow_client: MlflowClient, ten: Ten) -> None:
    (run,) = mlflow_client.search_runs([ten[0]], "attributes.run_name = 'r2'")
    assert (run.data.metrics, run.data.params) == ({"score": 0.2, "val/loss a": -2.0}, {"family": "tree", "depth": "2"})
    assert (run.data.tags["even"], run.info.status, run.info.run_id) == ("yes", "FINISHED", ten[1][2])


def test_several_experiments_are_searched_at_once(mlflow_client: MlflowClient, ten: Ten, experiment: str) -> None:
    other = mlflow_client.create_run(experiment, run_name="other").info.run_id
    found = mlflow_client.search_runs([ten[0], experiment], order_by=["attributes.start_time DESC"])
    assert len(found) == 11
    assert found[0].info.run_id == other


@both
def test_view_types(mlflow_client: MlflowClient, experiment: str) -> None:
    kept, gone = (mlflow_client.create_run(experiment).info.run_id for _ in range(2))
    mlflow_client.delete_run(gone)
    views = (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL)
    assert [{r.info.run_id for r in mlflow_client.search_runs([experiment], run_view_type=view)} for view in views] == [
        {kept}, {gone}, {kept, gone}
    ]  # fmt: skip


@both
def test_runs_are_found_by_dataset(study: str, mlflow_client: MlflowClient) -> None:
    for dataset in ("north", "south"):
        with mlflow.start_run(run_name=dataset):
            mlflow.log_input(mlflow.data.from_pandas(pd.DataFrame({"x": [1, 2]}), name=dataset), context="training")
    experiment = mlflow_client.get_experiment_by_name(study).experiment_id
    names = lambda text: sorted(r.info.run_name for r in mlflow_client.search_runs([experiment], text))  # noqa: E731
    assert names("datasets.name = 'south'") == ["south"]
    assert names("datasets.name LIKE '%th'") == ["north", "south"]
    assert names("dataset.context = 'training'") == ["north", "south"]
    assert names("datasets.name IN ('south', 'west')") == ["south"]


def test_the_fluent_search_gives_a_frame(server: Served, ten: Ten) -> None:
    frame = mlflow.search_runs([ten[0]], "metrics.score > 0.5", order_by=["metrics.score DESC"])
    assert list(frame["params.depth"]) == ["7", "6"]
    assert list(frame["metrics.score"]) == [0.7, 0.6]


def test_more_than_50000_results_are_refused(mlflow_client: MlflowClient, ten: Ten, refused: Callable) -> None:
    refused("INVALID_PARAMETER_VALUE", mlflow_client.search_runs, [ten[0]], max_results=50_001)


@both
def test_experiments_are_searched_filtered_ordered_and_paged(mlflow_client: MlflowClient, fresh: Callable[[str], str]) -> None:
    stem = fresh("many")
    for i in range(5):
        mlflow_client.create_experiment(f"{stem}-{i}", tags={"parity": str(i % 2)})
    prefix = f"name LIKE '{stem}%'"
    first = mlflow_client.search_experiments(filter_string=prefix, order_by=["name ASC"], max_results=3)
    rest = mlflow_client.search_experiments(filter_string=prefix, order_by=["name ASC"], max_results=3, page_token=first.token)
    assert [e.name for e in [*first, *rest]] == [f"{stem}-{i}" for i in range(5)]
    assert not rest.token
    odd = mlflow_client.search_experiments(filter_string=f"{prefix} AND tags.parity = '1'", order_by=["name DESC"])
    assert [e.name for e in odd] == [f"{stem}-3", f"{stem}-1"]
    assert mlflow_client.search_experiments(filter_string=f"name ILIKE '{stem.upper()}-4'")[0].name == f"{stem}-4"
