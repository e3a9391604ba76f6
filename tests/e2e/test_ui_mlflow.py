"""Training scripts written for MLflow run unchanged against ``rung up``; their runs, curves and models are seen in Chromium."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browsing import chromium, tab
from tests.servers import RunningServer, running_server, stop

SCRIPTS = Path(__file__).parent / "scripts"
CHANGED = r"""(all) => {
  // How many pixels of the drawn lines differ from the ground of the canvas.
  let drawn = 0;
  for (const canvas of all) {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    for (let at = 3; at < pixels.length; at += 4) if (pixels[at] > 128) drawn += 1;
  }
  return drawn;
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("mlflow-ui")
    with running_server(folder / "home", folder) as running:
        yield running


@pytest.fixture(scope="module")
def said(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each script printed. Two variables name the server; nothing else tells MLflow's client of us."""
    folder = tmp_path_factory.mktemp("training")
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MPLCONFIGDIR": str(folder),
    }
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {**kept, **quiet, "MLFLOW_TRACKING_URI": server.url, "MLFLOW_TRACKING_TOKEN": server.token}
    with ExitStack() as stack:
        started: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("train_sklearn", "train_lightgbm"):
            output = stack.enter_context((folder / f"{name}.txt").open("wb"))
            command = [sys.executable, str(SCRIPTS / f"{name}.py")]
            started[name] = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(stop, started[name])
        codes = {name: process.wait(240) for name, process in started.items()}
    printed = {name: (folder / f"{name}.txt").read_text() for name in started}
    assert codes == dict.fromkeys(started, 0), "\n".join(printed.values())
    return printed


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, server: RunningServer, said: dict[str, str]) -> Iterator[Page]:
    with tab(browser, server.url, server.token) as opened:
        yield opened


def test_runs_of_both_scripts_stand_in_the_table_with_their_numbers(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/runs")
    rows = page.locator(".runs-table tbody tr")
    assert rows.count() == 2
    assert "tumours-linear:1 logistic" in rows.filter(has_text="logistic").inner_text()
    assert "succeeded" in rows.filter(has_text="trees").inner_text()
    page.locator("#where").fill("metrics.\"valid-auc\" > 0.9 AND params.num_leaves = '15'")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**where=*")
    assert rows.count() == 1
    assert "trees" in rows.inner_text()


def test_the_links_that_the_client_prints_lead_to_the_run_and_to_its_experiment(
    page: Page, server: RunningServer, said: dict[str, str]
) -> None:
    run = re.search(r"View run trees at: (\S+)", said["train_lightgbm"])
    experiment = re.search(r"View experiment at: (\S+)", said["train_lightgbm"])
    assert run, said["train_lightgbm"]
    assert experiment, said["train_lightgbm"]
    page.goto(run[1])
    expect(page.locator("h1")).to_contain_text("tumours-trees:1 trees succeeded")
    page.goto(experiment[1])
    expect(page.locator("h1")).to_contain_text("tumours-trees has 1 run.")


def test_curves_of_a_boosting_run_are_drawn_point_for_point(page: Page, server: RunningServer) -> None:
    page.goto(f"{server.url}/runs/tumours-trees:1")
    for key in ("train-auc", "train-binary_logloss", "valid-auc", "valid-binary_logloss"):
        figure = page.locator(f"[data-key='{key}']")
        figure.scroll_into_view_if_needed()
        figure.locator("canvas").wait_for()
        page.wait_for_function("figure => figure.dataset.points === '40'", arg=figure.element_handle())
        assert figure.locator("canvas").evaluate_all(CHANGED) > 500, key
    extremes = page.locator("table", has_text="highest").inner_text()
    assert "valid-binary_logloss" in extremes


def test_a_loss_logged_by_hand_is_a_curve_and_a_score_of_one_value_is_not(page: Page, server: RunningServer) -> None:
    page.goto(f"{server.url}/runs/tumours-linear:1")
    figure = page.locator("[data-key='epoch_loss']")
    figure.scroll_into_view_if_needed()
    page.wait_for_function("figure => figure.dataset.points === '20'", arg=figure.element_handle())
    assert figure.locator("canvas").evaluate_all(CHANGED) > 500
    assert page.locator("[data-key='test_auc']").count() == 0
    assert "test_auc" in page.locator("main").inner_text()


def test_the_run_shows_its_model_its_inputs_and_its_artifacts(page: Page, server: RunningServer) -> None:
    page.goto(f"{server.url}/runs/tumours-linear:1")
    shown = page.locator("main").inner_text()
    for said in (
        "tumours:1",
        "serves",
        "logisticregression__C",
        "estimator.html",
        "training_confusion_matrix.png",
        "weights.json",
        "risk <b>group</b>",
    ):
        assert said in shown, said
    assert page.locator("#inputs + .scroll").get_by_role("cell", name="426", exact=True).count() == 1
    assert page.locator("img.picture").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.get_by_role("link", name="estimator.html").click()
    page.frame_locator("iframe.frame").locator("body").wait_for()
    page.get_by_role("link", name="weights.json").click()
    expect(page.locator(".pane pre")).to_contain_text('"texture"')


def test_the_logged_model_has_a_page_with_its_files_and_its_version(page: Page, server: RunningServer) -> None:
    page.goto(f"{server.url}/runs/tumours-linear:1")
    page.get_by_role("link", name="model", exact=True).click()
    page.wait_for_url("**/logged-models/*")
    shown = page.locator("main").inner_text()
    for said in ("model is ready", "tumours:1", "MLmodel", "python_function", "input_example.json"):
        assert said in shown, said
    page.get_by_role("link", name="tumours:1").click()
    expect(page.locator("main")).to_contain_text("mean radius")
