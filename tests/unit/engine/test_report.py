"""The report of a reproduction says what decided the verdict."""

from __future__ import annotations

from datetime import UTC, datetime

from rung.engine.reproducing.report import because, text_of
from rung.pipelines.reproducing import ChangeSince, Likeness, MetricComparison, OutputComparison, Reproduction


def _found(likeness: Likeness, outputs: tuple[OutputComparison, ...], metrics: tuple[MetricComparison, ...] = ()) -> Reproduction:
    return Reproduction(
        id="0" * 32, pipeline_run="1" * 32, repeated_as="2" * 32, likeness=likeness, first_diverging_step="fit", tolerance=1e-9,
        comparisons=outputs, notes=("It failed.",), created_at=datetime(2026, 1, 1, tzinfo=UTC), created_by="ada", pipeline="train",
        number=3, metrics=metrics, network="kernel",
        changes=(ChangeSince(kind="data", subject="file a.csv", was="blake3:1", now="blake3:2"),),
    )  # fmt: skip


def _output(step: str, likeness: Likeness, item: int | None = None) -> OutputComparison:
    return OutputComparison(step=step, output="output", likeness=likeness, detail="so it is", original="", repeated="", item=item)


def test_the_first_output_that_differs_decides() -> None:
    found = _found("different", (_output("load", "equivalent"), _output("fit", "different", 4)))
    assert because(found) == "fit.output[4]: so it is"
    text = text_of(found)
    assert "Because fit.output[4]: so it is" in text
    assert "data      file a.csv: was blake3:1, is blake3:2." in text
    assert "nothing the steps started could reach another machine" in text


def test_a_metric_decides_where_every_output_is_equal() -> None:
    metric = MetricComparison(metric="auc", original=0.5, repeated=None, difference=None, likeness="different")
    assert because(_found("different", (_output("fit", "identical"),), (metric,))) == "metric auc was 0.5, is not logged"


def test_a_run_that_failed_says_so() -> None:
    assert because(_found("different", ())) == "It failed."


def test_an_identical_one_needs_no_reason() -> None:
    assert "Because" not in text_of(_found("identical", (_output("fit", "identical"),)))
