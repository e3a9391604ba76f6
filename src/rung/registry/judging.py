"""Handlers that score and judge: evaluations of versions, and verdicts of gates. Their slow halves run outside any transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rung.core.errors import Invalid
from rung.core.ids import new_id
from rung.core.requests import handler_of, handles
from rung.data.records import DatasetVersion
from rung.data.records import GetVersion as GetDatasetVersion
from rung.evaluation.records import Evaluation
from rung.evaluation.store import EvaluationStore
from rung.governance.lineage import link, node
from rung.registry import records as r
from rung.registry.notifying import notify
from rung.registry.rules import check_labelled, check_servable, default_rules, passed, reasons
from rung.registry.store import RegistryStore, moved_meanwhile
from rung.storage.outbox import emit
from rung.storage.scope import Scope

if TYPE_CHECKING:
    from rung.registry.gate import Contender


@handles(r.EvaluateVersion)
def evaluate_version(request: r.EvaluateVersion, scope: Scope) -> Callable[[Scope], str]:
    """Id of the stored evaluation. Raises NotFound; Invalid for a dataset without the model's columns."""
    from rung.registry.evaluating import evaluated  # noqa: PLC0415 - loads Polars, NumPy and the model's library

    version, rules, by = scope.read(lambda inside: _looked_up(inside, request.model, request.number))
    dataset = _dataset(scope, request.dataset, request.dataset_number)
    slices = rules.slices if request.slices is None else request.slices
    made = evaluated(scope, version, dataset, slices, by).evaluation

    def save(inside: Scope) -> str:
        _save_evaluation(inside, made)
        return made.id

    return save


@handles(r.CheckGate)
def check_gate(request: r.CheckGate, scope: Scope) -> Callable[[Scope], r.Verdict]:
    """The stored verdict. Raises NotFound; Invalid without a dataset; Conflict when the champion moves meanwhile."""
    from rung.registry.evaluating import trial  # noqa: PLC0415 - see evaluate_version
    from rung.registry.gate import GateCase, judged  # noqa: PLC0415 - see evaluate_version

    version, rules, by = scope.read(lambda inside: _looked_up(inside, request.model, request.number))
    name = request.dataset or rules.dataset or next((use.dataset for use in version.datasets if use.role == "test"), None)
    if name is None:
        raise Invalid(
            f"Nobody said on which dataset {request.model}:{request.number} is judged.",
            code="registry.no_gate_dataset",
            hint="Name a dataset, set one in the gate rules, or register the version with a test dataset.",
        )
    number = request.dataset_number or next((u.number for u in version.datasets if u.role == "test" and u.dataset == name), None)
    dataset = _dataset(scope, name, number)
    held = scope.read(lambda inside: RegistryStore(inside.connection, inside.project).aliases(request.model)).get(request.champion)
    champion = None
    if held is not None and held != version.number:
        other = scope.read(lambda inside: RegistryStore(inside.connection, inside.project).version(request.model, held))
        champion = _contender(scope, other, dataset, rules.slices, by)
    candidate = _contender(scope, version, dataset, rules.slices, by)
    case = GateCase(candidate, champion, lambda: trial(scope, version, dataset))
    results = tuple(result for rule in rules.rules for result in judged(rule, case))
    verdict = r.Verdict(
        id=new_id(), model=version.model, number=version.number, passed=passed(results), reasons=reasons(results, first=held is None),
        gates=results, champion=held, dataset=dataset.dataset, dataset_number=dataset.number, evaluation=candidate.evaluation.id,
        champion_evaluation=champion.evaluation.id if champion else None, created_at=scope.now, created_by=by,
    )  # fmt: skip
    contenders = [candidate] if champion is None else [candidate, champion]
    return lambda inside: _save_verdict(inside, verdict, [item.evaluation for item in contenders], request.champion, version)


@handles(r.GetVerdict)
def get_verdict(request: r.GetVerdict, scope: Scope) -> r.Verdict:
    """One verdict. Raises NotFound."""
    return RegistryStore(scope.connection, scope.project).verdict(request.id)


@handles(r.ListVerdicts)
def list_verdicts(request: r.ListVerdicts, scope: Scope) -> tuple[r.Verdict, ...]:
    """Verdicts, newest first. Raises NotFound for an unknown model."""
    store = RegistryStore(scope.connection, scope.project)
    return store.verdicts(store.model(request.model).name, request.number, request.limit)


def _looked_up(scope: Scope, model: str, number: int) -> tuple[r.ModelVersion, r.GateRules, str]:
    store = RegistryStore(scope.connection, scope.project)
    version = store.version(model, number)
    check_servable(version)
    check_labelled(version)
    return version, store.find_rules(model) or default_rules(model), scope.who


def _dataset(scope: Scope, name: str, number: int | None) -> DatasetVersion:
    """A dataset version, as the data area's own handler answers it."""
    found: DatasetVersion = scope.read(lambda inside: handler_of(GetDatasetVersion)(GetDatasetVersion(dataset=name, number=number), inside))
    if found.format != "table":
        raise Invalid(f"{name}:{found.number} holds files, not rows.", code="registry.no_table", hint="Evaluate on a table.")
    return found


def _contender(scope: Scope, version: r.ModelVersion, dataset: DatasetVersion, slices: tuple[r.SliceRule, ...], by: str) -> Contender:
    """The version with its newest evaluation on these rows and slices, made now if there is none."""
    from rung.evaluation.rows import from_parquet  # noqa: PLC0415 - see evaluate_version
    from rung.registry.evaluating import evaluated  # noqa: PLC0415 - see evaluate_version
    from rung.registry.gate import Contender  # noqa: PLC0415 - see evaluate_version

    held = scope.read(
        lambda inside: EvaluationStore(inside.connection, inside.project).list(
            version.model, number=version.number, dataset=dataset.dataset, dataset_number=dataset.number
        )
    )
    wanted = {(item.column, item.bands) for item in slices}
    for evaluation in held:
        if {(item.column, item.bands) for item in evaluation.slice_by} == wanted:
            return Contender(version, evaluation, from_parquet(scope.blobs.get(evaluation.rows_blob)))
    return evaluated(scope, version, dataset, slices, by)


def _save_evaluation(scope: Scope, made: Evaluation) -> None:
    store = EvaluationStore(scope.connection, scope.project)
    if any(item.id == made.id for item in store.list(made.model, number=made.number, dataset=made.dataset)):
        return
    store.add(made)
    target = node("evaluation", made.id)
    link(scope, node("model_version", f"{made.model}:{made.number}"), "scored_in", target)
    link(scope, node("dataset_version", f"{made.dataset}:{made.dataset_number}"), "input_of", target)
    emit(
        scope,
        r.VersionEvaluated(
            model=made.model, number=made.number, evaluation=made.id, dataset=made.dataset, dataset_number=made.dataset_number
        ),
    )


def _save_verdict(scope: Scope, verdict: r.Verdict, evaluations: list[Evaluation], champion: str, version: r.ModelVersion) -> r.Verdict:
    store = RegistryStore(scope.connection, scope.project)
    store.take_turn(verdict.model)
    now_held = store.aliases(verdict.model).get(champion)
    if now_held != verdict.champion:
        raise moved_meanwhile(champion, verdict.champion, now_held)
    for made in evaluations:
        _save_evaluation(scope, made)
        link(scope, node("evaluation", made.id), "judged_in", node("verdict", verdict.id))
    store.add_verdict(verdict)
    told = {"name": verdict.model, "version": str(verdict.number), "verdict": verdict.id, "reasons": list(verdict.reasons)}
    notify(scope, "verdict.passed" if verdict.passed else "verdict.failed", told)
    kind = r.GatePassed if verdict.passed else r.GateFailed
    emit(
        scope,
        kind(
            model=verdict.model,
            number=verdict.number,
            verdict=verdict.id,
            champion=verdict.champion,
            pipeline_run_id=version.pipeline_run_id,
        ),
    )
    return verdict
