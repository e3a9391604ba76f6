"""Deployments and predictions from Python."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from rung.client.graphs import graph_from
from rung.client.nodes import NodeVerbs
from rung.client.predictions import PredictionVerbs
from rung.client.releases import ReleaseVerbs
from rung.client.transports import HttpTransport, Transport
from rung.core.errors import Invalid, NotFound, Unavailable
from rung.serving import graph_records as g
from rung.serving import records as r
from rung.serving.options import DeploymentOptions, GraphOptions, RolloutPlan

_PARQUET, _ARROW = "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"


class ServingVerbs(ReleaseVerbs, PredictionVerbs, NodeVerbs):
    """Verbs of serving."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def deploy(
        self, deployment: str, model: str, number: int | None = None, *, alias: str | None = None, environment: str = r.PRODUCTION,
        options: DeploymentOptions | None = None, reason: str = "", override_reason: str = "",
    ) -> r.Revision:  # fmt: skip
        """Serve a version under a name. Raises Conflict without a passing verdict in production."""
        return self._transport.call(
            r.Deploy(
                deployment=deployment, model=model, number=number, alias=alias, environment=environment, options=options, reason=reason,
                override_reason=override_reason,
            )
        )  # fmt: skip

    def start_canary(
        self, deployment: str, number: int, *, model: str | None = None, share: float = 0.1, grow: bool = False,
        plan: RolloutPlan | None = None, reason: str = "", override_reason: str = "",
    ) -> r.Revision:  # fmt: skip
        """Give a version a share of the traffic; with ``grow`` (or a plan) it grows by its gates; a share of 0 shadows."""
        return self._transport.call(
            r.StartCanary(
                deployment=deployment, number=number, model=model, share=share, grow=grow or plan is not None, plan=plan, reason=reason,
                override_reason=override_reason,
            )
        )  # fmt: skip

    def start_shadow(self, deployment: str, number: int, *, model: str | None = None, reason: str = "") -> r.Revision:
        """Let a version answer copies of all requests, and nobody hear it."""
        return self.start_canary(deployment, number, model=model, share=0.0, reason=reason)

    def set_traffic(self, deployment: str, share: float, *, reason: str = "") -> r.Revision:
        """Change the canary's share."""
        return self._transport.call(r.SetTraffic(deployment=deployment, share=share, reason=reason))

    def judge_canary(self, deployment: str, limits: r.CanaryLimits | None = None) -> r.CanaryVerdict:
        """Compare the canary with the stable version."""
        return self._transport.call(r.JudgeCanary(deployment=deployment, limits=limits or r.CanaryLimits()))

    def promote_canary(self, deployment: str, *, reason: str = "", override_reason: str = "") -> r.Revision:
        """Make the canary stable. Raises Conflict unless it passed."""
        return self._transport.call(r.PromoteCanary(deployment=deployment, reason=reason, override_reason=override_reason))

    def abort_canary(self, deployment: str, *, reason: str = "") -> r.Revision:
        """Take the canary, or the shadow, away."""
        return self._transport.call(r.AbortCanary(deployment=deployment, reason=reason))

    def rollback(self, deployment: str, *, to: int | None = None, reason: str = "", drill: bool = False) -> r.Revision:
        """Go back to an earlier revision."""
        return self._transport.call(r.Rollback(deployment=deployment, to=to, reason=reason, drill=drill))

    def reload(self, deployment: str, *, reason: str = "") -> r.Revision:
        """Load what it serves anew, by the engines that its versions have now."""
        return self._transport.call(r.Reload(deployment=deployment, reason=reason))

    def undeploy(self, deployment: str, *, reason: str = "") -> r.Revision:
        """Stop answering."""
        return self._transport.call(r.Undeploy(deployment=deployment, reason=reason))

    def get(self, deployment: str) -> r.Deployment:
        """One deployment. Raises NotFound."""
        return self._transport.call(r.GetDeployment(deployment=deployment))

    def list(self) -> tuple[r.Deployment, ...]:
        """Deployments by name."""
        return self._transport.call(r.ListDeployments())

    def revisions(self, deployment: str) -> tuple[r.Revision, ...]:
        """Revisions, newest first."""
        return self._transport.call(r.ListRevisions(deployment=deployment))

    def canary_verdicts(self, deployment: str) -> tuple[r.CanaryVerdict, ...]:
        """Judgements of canaries, newest first."""
        return self._transport.call(r.ListCanaryVerdicts(deployment=deployment))

    def set_graph(self, deployment: str, graph: GraphOptions | Mapping[str, Any] | Path | str, *, reason: str = "") -> r.Revision:
        """Give a deployment a graph: options, plain values, or a TOML or JSON file. Raises Invalid, naming the node that cannot be."""
        return self._transport.call(g.SetGraph(deployment=deployment, graph=graph_from(graph, self._transport), reason=reason))

    def try_graph(
        self, deployment: str, row: Mapping[str, Any], *, graph: GraphOptions | Mapping[str, Any] | Path | str | None = None
    ) -> g.GraphTrial:
        """Answer one row by a deployment's graph, or by one that is not set yet, with what each node gave."""
        wish = None if graph is None else graph_from(graph, self._transport)
        return self._transport.call(g.TryGraph(deployment=deployment, row=dict(row), graph=wish))

    def predict(
        self, deployment: str, frame: Any, *, event_times: Sequence[datetime] | pl.Series | None = None,
        ids: Sequence[str] | None = None, batch: int = 1000,
    ) -> pl.DataFrame:  # fmt: skip
        """Answers to a frame, given and logged by the deployment.

        Args:
            deployment: its name.
            frame: Polars or pandas, one column an input of the model.
            event_times: aware instants, one a row; now without them.
            ids: prediction ids; fresh ones without them.
            batch: rows a request.

        Returns:
            In the order of the rows: ``prediction_id``; ``predict``, the class or value; ``score``, P(positive) or the value, or
            ``score_0``, ``score_1`` … of several classes in their order; what else a graph answers; ``version``.
        """
        rows = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
        own = [] if event_times is None else [pl.Series("event_time", event_times).cast(pl.Datetime("us", "UTC"))]
        if ids is not None:
            own.append(pl.Series("prediction_id", ids, dtype=pl.String))
        if batch < 1:
            raise Invalid(f"A batch of {batch} rows is none.", code="serving.bad_size", hint="Choose 1 or more.")
        ask = self._over_http if isinstance(self._transport, HttpTransport) else self._in_process
        parts = []
        for start in range(0, rows.height, batch):
            sink = io.BytesIO()
            rows.slice(start, batch).with_columns(series.slice(start, batch) for series in own).write_parquet(sink)
            parts.append(ask(deployment, sink.getvalue()).drop("arm"))
        empty = {"prediction_id": pl.String, "score": pl.Float64, "version": pl.Int64}
        return pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame(schema=empty)

    def _in_process(self, deployment: str, body: bytes) -> pl.DataFrame:
        answers = self._transport.call(r.Predict(deployment=deployment, rows=self._transport.put_blob(body)))
        return pl.read_parquet(io.BytesIO(self._transport.get_blob(answers.blob)))

    def _over_http(self, deployment: str, body: bytes) -> pl.DataFrame:
        assert isinstance(self._transport, HttpTransport)  # noqa: S101 - chosen by the caller above
        headers = {"content-type": _PARQUET, "accept": _ARROW}
        answer = self._transport.http.post(f"/v2/models/{deployment}/infer", content=body, headers=headers)
        if not answer.is_success:
            raise _failure(answer.status_code, answer.content)
        return pl.read_ipc_stream(answer.content)


def _failure(status: int, body: bytes) -> Exception:
    try:
        message = str(msgspec.json.decode(body)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        message = f"The endpoint answered {status}."
    if status == 404:  # noqa: PLR2004
        return NotFound(message, code="serving.no_deployment")
    return Invalid(message, code="serving.refused") if status < 500 else Unavailable(message, code="serving.unavailable")  # noqa: PLR2004
