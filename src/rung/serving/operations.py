"""Handlers of serving."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import polars as pl

from rung.core.errors import Conflict, Denied, Invalid
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.core.requests import handles
from rung.governance.lineage import link, node
from rung.governance.operations import trace_lineage
from rung.governance.records import Edge, Node, Trace, TraceLineage
from rung.governance.rules import may
from rung.governance.store import GovernanceStore
from rung.registry.approving import check_approved
from rung.registry.records import ModelVersion
from rung.registry.rules import check_servable
from rung.registry.store import RegistryStore
from rung.serving import predictions
from rung.serving import records as r
from rung.serving.answering import answer, settle
from rung.serving.codecs.asked import fitted
from rung.serving.judging import observed
from rung.serving.live import live_table, note_change
from rung.serving.log import log_folder, segments
from rung.serving.rules import candidate, judged, promoted, rollback_target, with_canary, with_share, without_canary
from rung.serving.store import ServingStore
from rung.storage.outbox import emit
from rung.storage.scope import Scope

_OWN = ("prediction_id", "event_time")


@handles(r.Deploy)
def deploy(request: r.Deploy, scope: Scope) -> r.Revision:
    """The new revision. Raises NotFound, Conflict without a passing verdict in production, Denied for an override."""
    store, begun = ServingStore(scope.connection, scope.project), time.perf_counter()
    version = _version(scope, request.model, request.number, request.alias)
    held = store.find(request.deployment)
    if held is None:
        store.add_deployment(request.deployment, new_id(), request.environment, scope.now)
    environment = held.environment if held else request.environment
    verdict = _cleared(scope, version, environment, request.override_reason)
    routes = (r.Route(model=version.model, number=version.number, share=1.0, arm="stable"),)
    return _save(scope, request.deployment, routes, "deploy", request.reason, begun, verdict=verdict, override=request.override_reason)


@handles(r.StartCanary)
def start_canary(request: r.StartCanary, scope: Scope) -> r.Revision:
    """The revision with a canary, or a shadow. Raises NotFound, Conflict."""
    begun = time.perf_counter()
    held = ServingStore(scope.connection, scope.project).get(request.deployment)
    stable = held.stable
    if stable is None:
        raise Conflict(f"{held.name!r} serves nothing.", code="serving.undeployed", hint="Deploy a version first.")
    version = _version(scope, request.model or stable.model, request.number, None)
    verdict = _cleared(scope, version, held.environment, request.override_reason) if request.share > 0 else None
    routes = with_canary(held.routes, version.model, version.number, request.share)
    change: r.Change = "canary" if request.share > 0 else "shadow"
    return _save(scope, held.name, routes, change, request.reason, begun, verdict=verdict, override=request.override_reason)


@handles(r.SetTraffic)
def set_traffic(request: r.SetTraffic, scope: Scope) -> r.Revision:
    """The revision with another share. Raises NotFound, Conflict."""
    begun = time.perf_counter()
    held = ServingStore(scope.connection, scope.project).get(request.deployment)
    return _save(scope, held.name, with_share(held.routes, request.share), "traffic", request.reason, begun)


@handles(r.JudgeCanary)
def judge_canary(request: r.JudgeCanary, scope: Scope) -> Callable[[Scope], r.CanaryVerdict]:
    """Compares the arms since the canary started. Raises NotFound, Conflict without a canary."""
    settle()
    store = scope.read(
        lambda s: (
            ServingStore(s.connection, s.project).get(request.deployment),
            ServingStore(s.connection, s.project).revisions(request.deployment),
        )
    )
    held, revisions = store
    trial = candidate(held.routes)
    first = min(x.number for x in revisions if trial.number in {route.number for route in x.routes})
    seen = observed(scope, held.name, trial, since_revision=first)
    outcome, reasons = judged(request.limits, **seen)
    verdict = r.CanaryVerdict(
        id=new_id(), deployment=held.name, revision=held.revision, outcome=outcome, reasons=reasons, created_at=scope.now,  # type: ignore[arg-type]  # rules give one of the three
        canary_rows=seen["canary_rows"], stable_rows=seen["stable_rows"], canary_errors=seen["canary_errors"],
        score_distance=seen["score_distance"], slowdown=seen["slowdown"],
    )  # fmt: skip

    def save(inside: Scope) -> r.CanaryVerdict:
        ServingStore(inside.connection, inside.project).add_canary_verdict(verdict)
        emit(inside, r.CanaryJudged(deployment=held.name, revision=held.revision, outcome=outcome, model=trial.model, number=trial.number))
        return verdict

    return save


@handles(r.PromoteCanary)
def promote_canary(request: r.PromoteCanary, scope: Scope) -> r.Revision:
    """The revision with the canary as stable. Raises NotFound, Conflict without a passed judgement, Denied."""
    begun, store = time.perf_counter(), ServingStore(scope.connection, scope.project)
    held = store.get(request.deployment)
    trial = candidate(held.routes)
    judgement = next((v for v in store.canary_verdicts(held.name) if v.revision == held.revision), None)
    if request.override_reason:
        _may_override(scope)
    elif judgement is None or judgement.outcome != "passed":
        said = " ".join(judgement.reasons) if judgement else "It was not judged yet."
        raise Conflict(
            f"The canary {trial.model}:{trial.number} has not passed. {said}",
            code="serving.canary_not_passed",
            hint="Judge it after it has answered, or override with a reason.",
        )
    return _save(scope, held.name, promoted(held.routes), "promote", request.reason, begun, override=request.override_reason)


@handles(r.AbortCanary)
def abort_canary(request: r.AbortCanary, scope: Scope) -> r.Revision:
    """The revision with the stable version alone. Raises NotFound, Conflict."""
    begun = time.perf_counter()
    held = ServingStore(scope.connection, scope.project).get(request.deployment)
    return _save(scope, held.name, without_canary(held.routes), "abort", request.reason, begun)


@handles(r.Rollback)
def rollback(request: r.Rollback, scope: Scope) -> r.Revision:
    """The revision that serves what an earlier one served; a drill goes there and back. Raises NotFound, Conflict."""
    begun, store = time.perf_counter(), ServingStore(scope.connection, scope.project)
    held = store.get(request.deployment)
    target = rollback_target(store.revisions(held.name), request.to)
    reason = request.reason or f"back to revision {target.number}"
    routes = tuple(replaced(route, share=1.0) for route in target.routes if route.arm == "stable")
    done = _save(scope, held.name, routes, "drill" if request.drill else "rollback", reason, begun)
    if request.drill:
        return _save(scope, held.name, held.routes, "drill", f"drill over: revision {held.revision} again", begun)
    return done


@handles(r.Undeploy)
def undeploy(request: r.Undeploy, scope: Scope) -> r.Revision:
    """The revision that serves nothing. Raises NotFound."""
    begun = time.perf_counter()
    held = ServingStore(scope.connection, scope.project).get(request.deployment)
    return _save(scope, held.name, (), "undeploy", request.reason, begun)


@handles(r.GetDeployment)
def get_deployment(request: r.GetDeployment, scope: Scope) -> r.Deployment:
    """One deployment. Raises NotFound."""
    return ServingStore(scope.connection, scope.project).get(request.deployment)


@handles(r.ListDeployments)
def list_deployments(request: r.ListDeployments, scope: Scope) -> tuple[r.Deployment, ...]:
    """Deployments by name."""
    return ServingStore(scope.connection, scope.project).all()


@handles(r.ListRevisions)
def list_revisions(request: r.ListRevisions, scope: Scope) -> tuple[r.Revision, ...]:
    """Revisions, newest first. Raises NotFound."""
    store = ServingStore(scope.connection, scope.project)
    return store.revisions(store.get(request.deployment).name)


@handles(r.ListCanaryVerdicts)
def list_canary_verdicts(request: r.ListCanaryVerdicts, scope: Scope) -> tuple[r.CanaryVerdict, ...]:
    """Judgements, newest first."""
    return ServingStore(scope.connection, scope.project).canary_verdicts(request.deployment)


@handles(r.Predict)
def predict(request: r.Predict, scope: Scope) -> Callable[[Scope], r.Answers]:
    """Scores a Parquet blob of rows. Raises NotFound, Invalid."""
    live = live_table(scope.database, scope.blobs, scope.settings).get(scope.project, request.deployment)
    frame = _parquet(scope.blobs.get(request.rows))
    ids = frame["prediction_id"].to_list() if "prediction_id" in frame.columns else None
    times = frame["event_time"].cast(pl.Datetime("us", "UTC")).to_physical().to_numpy() if "event_time" in frame.columns else None
    rows = fitted(frame.drop([name for name in _OWN if name in frame.columns]), live.stable.version.signature)
    found = answer(live, rows, ids=ids, times_us=times)
    arm = pl.Series("arm", ["canary" if taken else "stable" for taken in found.canary], dtype=pl.String)
    scores = pl.Series("score", found.scores if found.scores.ndim == 1 else found.scores.tolist())
    sink = io.BytesIO()
    pl.DataFrame([pl.Series("prediction_id", found.ids), scores, pl.Series("version", found.versions), arm]).write_parquet(sink)
    blob = scope.blobs.put(sink.getvalue())
    answers = r.Answers(deployment=request.deployment, revision=live.deployment.revision, rows=rows.height, blob=blob)
    return lambda _: answers


@handles(r.FindPrediction)
def find_prediction(request: r.FindPrediction, scope: Scope) -> r.Prediction:
    """One logged prediction. Raises NotFound."""
    name, frame = predictions.find(scope, request.id, request.deployment)
    row = frame.row(0, named=True)
    inputs = {key: value for key, value in row.items() if key not in predictions.SCHEMA}
    return r.Prediction(
        id=row["prediction_id"], deployment=name, model=row["model"], number=row["version"], revision=row["revision"], arm=row["arm"],
        event_time=row["event_time"], answered_at=row["answered_at"], score=row["score"], inputs=inputs,
    )  # fmt: skip


@handles(r.TracePrediction)
def trace_prediction(request: r.TracePrediction, scope: Scope) -> Trace:
    """The prediction, then everything its revision came from. Raises NotFound."""
    found = find_prediction(r.FindPrediction(id=request.id, deployment=request.deployment), scope)
    start, served = Node(kind="prediction", id=found.id), Node(kind="model_version", id=f"{found.model}:{found.number}")
    revision = Node(kind="deployment", id=f"{found.deployment}:{found.revision}")
    upward = trace_lineage(TraceLineage(kind=served.kind, id=served.id), scope)
    own = (
        Edge(source=revision, relation="answered", target=start, at=found.answered_at),
        Edge(source=served, relation="served_by", target=revision, at=found.answered_at),
    )
    nodes = dict.fromkeys((start, revision, *upward.nodes))
    return Trace(start=start, nodes=tuple(nodes), edges=tuple(dict.fromkeys((*own, *upward.edges))))


@handles(r.ExportPredictions)
def export_predictions(request: r.ExportPredictions, scope: Scope) -> str:
    """Digest of a Parquet blob with the predictions."""
    frame = predictions.read(scope, request.deployment, request.start, request.end, arm=request.arm)
    sink = io.BytesIO()
    frame.write_parquet(sink)
    return scope.blobs.put(sink.getvalue())


@handles(r.CountServed)
def count_served(request: r.CountServed, scope: Scope) -> tuple[r.ServedRows, ...]:
    """Rows served by version, arm and day."""
    failures: dict[tuple[str, int, str], int] = {}
    busy: dict[tuple[str, int, str], float] = {}
    for batch in predictions.batches(scope, request.deployment):
        key = (batch.model, batch.number, batch.arm)
        failures[key] = failures.get(key, 0) + batch.errors
        busy[key] = busy.get(key, 0.0) + batch.elapsed_us / 1e6
    rows = []
    for row in predictions.served(scope, request.deployment).iter_rows(named=True):
        key = (row["model"], row["version"], row["arm"])
        rows.append(
            r.ServedRows(
                deployment=request.deployment, model=row["model"], number=row["version"], arm=row["arm"], day=row["day"],
                rows=row["rows"], errors=failures.pop(key, 0), busy_s=busy.pop(key, 0.0),
            )
        )  # fmt: skip
    return tuple(rows)


@handles(r.CompactLog)
def compact_log(request: r.CompactLog, scope: Scope) -> Callable[[Scope], int]:
    """Writes Parquet for sealed segments; the rows and then the removal follow in the saving half."""
    live_table(scope.database, scope.blobs, scope.settings).log(scope.project).seal()
    names = [path.stem for path in segments(log_folder(scope.home, scope.project), sealed_only=True)]
    written = []
    for deployment, ids, frame in predictions.compact(scope):
        sink = io.BytesIO()
        frame.write_parquet(sink, compression="zstd")
        written.append((predictions.file_values(scope, deployment, frame, scope.blobs.put(sink.getvalue())), deployment, ids))

    def save(inside: Scope) -> int:
        store = ServingStore(inside.connection, inside.project)
        for values, deployment, ids in written:
            keys = {predictions.segment_key(i, deployment): i for i in ids}
            if not store.compacted(list(keys)):
                store.add_prediction_file(values, list(keys))
        return len(names)

    return save


def _save(
    scope: Scope, deployment: str, routes: tuple[r.Route, ...], change: r.Change, reason: str, begun: float,
    *, verdict: str | None = None, override: str = "",
) -> r.Revision:  # fmt: skip
    store = ServingStore(scope.connection, scope.project)
    number = max((x.number for x in store.revisions(deployment)), default=0) + 1
    principal = GovernanceStore(scope.connection).find_principal(scope.principal)
    by = principal.name if principal else scope.principal
    revision = r.Revision(
        id=new_id(), deployment=deployment, number=number, routes=routes, change=change, created_at=scope.now, created_by=by,
        actor_kind=scope.principal_kind, reason=reason, verdict=verdict, override_reason=override,
        duration_ms=(time.perf_counter() - begun) * 1000,
    )  # fmt: skip
    store.add_revision(revision)
    RegistryStore(scope.connection, scope.project).hold(f"deployment {deployment}", ((route.model, route.number) for route in routes))
    served = node("deployment", f"{deployment}:{number}")
    for route in routes:
        link(scope, node("model_version", f"{route.model}:{route.number}"), "served_by", served)
        emit(scope, r.DeploymentChanged(deployment=deployment, revision=number, change=change, model=route.model, number=route.number))
    link(scope, node("principal", by), "deployed", served)
    note_change()
    return revision


def _version(scope: Scope, model: str, number: int | None, alias: str | None) -> ModelVersion:
    store = RegistryStore(scope.connection, scope.project)
    if number is not None and alias is not None:
        raise Invalid("A version is named by number or by alias, not both.", code="serving.which_version", hint="Drop one of them.")
    version = store.version(model, store.alias(model, alias) if alias is not None else number)
    if version.deleted_at is not None:
        raise Conflict(
            f"{model}:{version.number} is deleted.", code="registry.deleted", hint=f"`rung model restore {model} {version.number}` first."
        )
    check_servable(version)
    return version


def _cleared(scope: Scope, version: ModelVersion, environment: str, override: str) -> str | None:
    """The verdict that lets a version into an environment. Raises Conflict, or Denied for an override."""
    if environment == r.PRODUCTION:
        check_approved(scope, version)
    verdict = next(iter(RegistryStore(scope.connection, scope.project).verdicts(version.model, version.number, limit=1)), None)
    if verdict is not None and verdict.passed:
        return verdict.id
    if override:
        _may_override(scope)
        return None
    if environment != r.PRODUCTION:
        return verdict.id if verdict else None
    said = " ".join(verdict.reasons) if verdict else "No gate was checked."
    raise Conflict(
        f"{version.model}:{version.number} has no passing verdict. {said}",
        code="serving.no_verdict",
        hint=f"Run `rung model gate {version.model}:{version.number}`, deploy to another environment, or override with a reason.",
    )


def _may_override(scope: Scope) -> None:
    role = GovernanceStore(scope.connection).role_of(scope.project, scope.principal)
    if not may(role, "deployment:override"):
        raise Denied("An override needs deployment:override.", code="governance.denied", hint="Ask a maintainer of the project.")


def _parquet(data: bytes) -> pl.DataFrame:
    try:
        return pl.read_parquet(io.BytesIO(data))
    except pl.exceptions.PolarsError as error:
        raise Invalid(
            f"The rows are not Parquet: {str(error).splitlines()[0]}.", code="serving.bad_rows", hint="Send a Parquet file."
        ) from None
