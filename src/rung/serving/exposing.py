"""What the data plane counted, in Prometheus' text format; its library is loaded by who asks, not by every server at its start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from rung.serving.metrics import BOARD, Counts

CONTENT_TYPE = CONTENT_TYPE_LATEST
_OURS, _THEIRS = ["deployment", "project"], ["model", "version", "project"]


def exposed() -> bytes:
    """Everything that this process has to tell, its workers' numbers among it."""
    return generate_latest()


class Collector:
    """The board in Prometheus' terms: our own names, then those of Triton and MLServer so that their dashboards keep working."""

    def collect(self) -> Iterable[Metric]:
        """Metrics over all workers."""
        found = BOARD.counts()
        yield from _ours(found)
        yield from _of_logs(BOARD.of_logs())
        yield from _triton(found)
        yield from _mlserver(found)


def _named(project: str) -> str:
    return BOARD.projects.get(project, project)


def _of_logs(found: list[Counts]) -> Iterator[Metric]:
    logged = CounterMetricFamily("rung_predictions_logged", "Rows that the prediction log kept, by deployment.", labels=_OURS)
    shed = CounterMetricFamily("rung_predictions_shed", "Rows answered that the prediction log had no room for.", labels=_OURS)
    for one in found:
        logged.add_metric([one.deployment, _named(one.project)], one.logged)
        shed.add_metric([one.deployment, _named(one.project)], one.shed)
    yield from (logged, shed)


def _ours(found: list[Counts]) -> Iterator[Metric]:
    requests = CounterMetricFamily("rung_requests", "Inference requests by deployment and status.", labels=[*_OURS, "status"])
    rows = CounterMetricFamily("rung_rows", "Rows answered by deployment.", labels=_OURS)
    dropped = CounterMetricFamily("rung_shadow_dropped", "Requests that no shadow was shown.", labels=_OURS)
    compute = CounterMetricFamily("rung_model_seconds", "Seconds in models.", labels=_OURS)
    seconds = HistogramMetricFamily("rung_request_seconds", "Seconds from the whole request to the whole answer.", labels=_OURS)
    for (project, name), parts in _by_deployment(found).items():
        labels = [name, _named(project)]
        statuses: dict[str, float] = {}
        for part in parts:
            for status, count in part.by_status.items():
                statuses[status] = statuses.get(status, 0.0) + count
        for status, count in statuses.items():
            requests.add_metric([*labels, status], count)
        rows.add_metric(labels, sum(part.rows for part in parts))
        dropped.add_metric(labels, sum(part.dropped for part in parts))
        compute.add_metric(labels, sum(part.busy_us for part in parts) / 1e6)
        buckets = [(bound, sum(part.buckets[at][1] for part in parts)) for at, (bound, _) in enumerate(parts[0].buckets)]
        seconds.add_metric(labels, buckets, sum(part.seconds for part in parts))
    yield from (requests, rows, dropped, compute, seconds)


def _triton(found: list[Counts]) -> Iterator[Metric]:
    """Source: the Triton inference server's documentation of its metrics."""
    told: dict[str, tuple[str, Callable[[Counts], float]]] = {
        "nv_inference_request_success": ("Number of successful inference requests", lambda c: c.succeeded),
        "nv_inference_request_failure": ("Number of failed inference requests", lambda c: c.failed),
        "nv_inference_count": ("Number of inferences performed", lambda c: c.rows),
        "nv_inference_exec_count": ("Number of model executions performed", lambda c: round(c.executions)),
        "nv_inference_request_duration_us": ("Cumulative inference request duration in microseconds", lambda c: c.seconds * 1e6),
        "nv_inference_queue_duration_us": ("Cumulative inference queuing duration in microseconds", lambda c: c.queue_us),
        "nv_inference_compute_input_duration_us": ("Cumulative compute input duration in microseconds", lambda c: c.input_s * 1e6),
        "nv_inference_compute_infer_duration_us": ("Cumulative compute inference duration in microseconds", lambda c: c.compute_us),
        "nv_inference_compute_output_duration_us": ("Cumulative compute output duration in microseconds", lambda c: c.output_s * 1e6),
    }
    for name, (text, value) in told.items():
        metric = Metric(name, text, "unknown")
        for (project, model, version), parts in _by_model(found).items():
            metric.add_sample(name, {"model": model, "version": version, "project": _named(project)}, sum(value(part) for part in parts))
        yield metric


def _mlserver(found: list[Counts]) -> Iterator[Metric]:
    success = CounterMetricFamily("model_infer_request_success", "Model infer request success count", labels=_THEIRS)
    failure = CounterMetricFamily("model_infer_request_failure", "Model infer request failure count", labels=_THEIRS)
    duration = Metric("model_infer_request_duration", "Model infer request duration", "summary")
    for (project, model, version), parts in _by_model(found).items():
        success.add_metric([model, version, _named(project)], sum(part.succeeded for part in parts))
        failure.add_metric([model, version, _named(project)], sum(part.failed for part in parts))
        labels = {"model": model, "version": version, "project": _named(project)}
        duration.add_sample("model_infer_request_duration_count", labels, sum(part.succeeded + part.failed for part in parts))
        duration.add_sample("model_infer_request_duration_sum", labels, sum(part.seconds for part in parts))
    yield from (success, failure, duration)


def _by_deployment(found: list[Counts]) -> dict[tuple[str, str], list[Counts]]:
    grouped: dict[tuple[str, str], list[Counts]] = {}
    for one in found:
        grouped.setdefault((one.project, one.deployment), []).append(one)
    return grouped


def _by_model(found: list[Counts]) -> dict[tuple[str, str, str], list[Counts]]:
    grouped: dict[tuple[str, str, str], list[Counts]] = {}
    for one in found:
        grouped.setdefault((one.project, one.deployment, one.version), []).append(one)
    return grouped


REGISTRY.register(Collector())
