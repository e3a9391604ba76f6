"""Deployments and predictions from Python."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from rung.client.transports import HttpTransport, Transport
from rung.core.errors import Invalid, NotFound, Unavailable
from rung.governance.records import Trace
from rung.serving import records as r

_DATATYPES = {"Float64": "FP64", "Float32": "FP32", "Boolean": "BOOL", "String": "BYTES", "Categorical": "BYTES"}


class ServingVerbs:
    """Verbs of serving."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def deploy(
        self, deployment: str, model: str, number: int | None = None, *, alias: str | None = None, environment: str = r.PRODUCTION,
        reason: str = "", override_reason: str = "",
    ) -> r.Revision:  # fmt: skip
        """Serve a version under a name. Raises Conflict without a passing verdict in production."""
        return self._transport.call(
            r.Deploy(
                deployment=deployment, model=model, number=number, alias=alias, environment=environment, reason=reason, override_reason=override_reason
            )
        )  # fmt: skip

    def start_canary(
        self, deployment: str, number: int, *, model: str | None = None, share: float = 0.1, reason: str = "", override_reason: str = ""
    ) -> r.Revision:
        """Give a version a share of the traffic; a share of 0 shadows."""
        return self._transport.call(
            r.StartCanary(deployment=deployment, number=number, model=model, share=share, reason=reason, override_reason=override_reason)
        )

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

    def find(self, prediction_id: str, deployment: str | None = None) -> r.Prediction:
        """One logged prediction. Raises NotFound."""
        return self._transport.call(r.FindPrediction(id=prediction_id, deployment=deployment))

    def trace(self, prediction_id: str, deployment: str | None = None) -> Trace:
        """What a prediction came from."""
        return self._transport.call(r.TracePrediction(id=prediction_id, deployment=deployment))

    def predictions(
        self, deployment: str, start: datetime | None = None, end: datetime | None = None, *, arm: r.Arm | None = None
    ) -> pl.DataFrame:
        """Logged predictions by event time [start, end)."""
        blob = self._transport.call(r.ExportPredictions(deployment=deployment, start=start, end=end, arm=arm))
        return pl.read_parquet(io.BytesIO(self._transport.get_blob(blob)))

    def served(self, deployment: str) -> tuple[r.ServedRows, ...]:
        """Rows served by version, arm and day."""
        return self._transport.call(r.CountServed(deployment=deployment))

    def predict(
        self, deployment: str, frame: Any, *, event_times: Sequence[datetime] | pl.Series | None = None,
        ids: Sequence[str] | None = None, batch: int = 1000,
    ) -> pl.DataFrame:  # fmt: skip
        """Scores of a frame, answered and logged by the deployment.

        Args:
            deployment: its name.
            frame: Polars or pandas, one column an input of the model.
            event_times: aware instants, one a row; now without them.
            ids: prediction ids; fresh ones without them.
            batch: rows a request.

        Returns:
            ``prediction_id``, ``score``, ``version`` in the order of the rows.
        """
        rows = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
        times = None if event_times is None else pl.Series("event_time", event_times).cast(pl.Datetime("us", "UTC"))
        keys = None if ids is None else pl.Series("prediction_id", ids, dtype=pl.String)
        if batch < 1:
            raise Invalid(f"A batch of {batch} rows is none.", code="serving.bad_size", hint="Choose 1 or more.")
        parts = []
        for start in range(0, rows.height, batch):
            part = rows.slice(start, batch)
            own = [s.slice(start, batch) for s in (times, keys) if s is not None]
            ask = self._over_http if isinstance(self._transport, HttpTransport) else self._in_process
            parts.append(ask(deployment, part, own))
        return pl.concat(parts) if parts else pl.DataFrame(schema={"prediction_id": pl.String, "score": pl.Float64, "version": pl.Int64})

    def _in_process(self, deployment: str, part: pl.DataFrame, own: Sequence[pl.Series]) -> pl.DataFrame:
        sink = io.BytesIO()
        part.with_columns(own).write_parquet(sink)
        answers = self._transport.call(r.Predict(deployment=deployment, rows=self._transport.put_blob(sink.getvalue())))
        return pl.read_parquet(io.BytesIO(self._transport.get_blob(answers.blob))).select("prediction_id", "score", "version")

    def _over_http(self, deployment: str, part: pl.DataFrame, own: Sequence[pl.Series]) -> pl.DataFrame:
        assert isinstance(self._transport, HttpTransport)  # noqa: S101 - chosen by the caller above
        tensors = [_tensor(series) for series in part.get_columns()]
        for series in own:
            tensors.append(_tensor(series.to_physical() if series.name == "event_time" else series))
        body = msgspec.json.encode({"inputs": tensors})
        answer = self._transport.http.post(f"/v2/models/{deployment}/infer", content=body, headers={"content-type": "application/json"})
        if not answer.is_success:
            raise _failure(answer.status_code, answer.content)
        plain = msgspec.json.decode(answer.content)
        outputs = {tensor["name"]: tensor["data"] for tensor in plain["outputs"]}
        version = pl.repeat(int(plain["model_version"]), part.height, dtype=pl.Int64, eager=True)
        return pl.DataFrame({"prediction_id": outputs["prediction_id"], "score": outputs["score"], "version": version})


def _tensor(series: pl.Series) -> dict[str, Any]:
    kind = str(series.dtype)
    datatype = _DATATYPES.get(kind) or kind.upper()
    if series.dtype.is_temporal() or datatype not in {*_DATATYPES.values(), *(f"{u}INT{b}" for u in ("", "U") for b in (8, 16, 32, 64))}:
        series, datatype = series.cast(pl.String), "BYTES"
    return {"name": series.name, "shape": [series.len()], "datatype": datatype, "data": series.to_list()}


def _failure(status: int, body: bytes) -> Exception:
    try:
        message = str(msgspec.json.decode(body)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        message = f"The endpoint answered {status}."
    if status == 404:  # noqa: PLR2004
        return NotFound(message, code="serving.no_deployment")
    return Invalid(message, code="serving.refused") if status < 500 else Unavailable(message, code="serving.unavailable")  # noqa: PLR2004
