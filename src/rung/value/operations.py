"""Handlers of value."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rung.core.digests import digest_of
from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.ids import new_id
from rung.core.records import Empty, replaced
from rung.core.requests import handles
from rung.governance.lineage import link, node
from rung.monitoring.records import SetIncidentDecision
from rung.registry.store import RegistryStore
from rung.storage.outbox import emit
from rung.storage.scope import Scope
from rung.value import records as r
from rung.value.policy import POLICIES
from rung.value.store import ValueStore


@handles(r.FollowRenamed)
def follow_renamed(request: r.FollowRenamed, scope: Scope) -> Empty:
    """Renames, once the registry has. Raises NotFound for a model of that name, Conflict while the old name is a model's."""
    registry = RegistryStore(scope.connection, scope.project)
    registry.model(request.model)
    if registry.find_model(request.previous) is not None:
        raise Conflict(f"{request.previous!r} is a model.", code="value.not_renamed", hint="Rename the model first.")
    _store(scope).rename_model(request.previous, request.model)
    return Empty()


@handles(r.SetMatrix)
def set_matrix(request: r.SetMatrix, scope: Scope) -> r.ValueMatrix:
    """The matrix now in force. Raises Invalid when it values nothing."""
    names = ("tp", "fp", "fn", "tn", "over", "under", "free", "before_per_1000", "note", "model")
    given = {name: getattr(request, name) for name in names}
    if not any(given[name] for name in ("tp", "fp", "fn", "tn", "over", "under")):
        raise Invalid(
            "Every outcome of this matrix is worth nothing.", code="value.empty_matrix", hint="Give tp and fp, or over and under."
        )
    store = _store(scope)
    matrix = r.ValueMatrix(
        id=new_id(), number=store.next_number(r.ValueMatrix, request.model), currency=request.currency or scope.settings.rates.currency,
        created_at=scope.now, created_by=scope.who, **given,
    )  # fmt: skip
    store.add(matrix)
    return matrix


@handles(r.GetMatrix)
def get_matrix(request: r.GetMatrix, scope: Scope) -> r.ValueMatrix:
    """The matrix. Raises NotFound."""
    return _store(scope).get(r.ValueMatrix, request.model, request.number)


@handles(r.ListMatrices)
def list_matrices(request: r.ListMatrices, scope: Scope) -> tuple[r.ValueMatrix, ...]:
    """The newest of every model."""
    return _store(scope).newest_each(r.ValueMatrix)


@handles(r.SetGoal)
def set_goal(request: r.SetGoal, scope: Scope) -> r.Goal:
    """The goal, reviewed now."""
    goal = r.Goal(
        model=request.model, goal=request.goal, kpi=request.kpi, owner=request.owner, backup=request.backup, reviewed_at=scope.now
    )
    _store(scope).set_goal(goal)
    return goal


@handles(r.GetGoal)
def get_goal(request: r.GetGoal, scope: Scope) -> r.Goal:
    """The goal. Raises NotFound."""
    for goal in _store(scope).goals():
        if goal.model == request.model:
            return goal
    raise NotFound(
        f"Model {request.model!r} has no goal.", code="value.no_goal", hint=f"rung value goal {request.model} --goal … --kpi … --owner …"
    )


@handles(r.ListRates)
def list_rates(request: r.ListRates, scope: Scope) -> tuple[r.Rate, ...]:
    """The declared rates."""
    rates = scope.settings.rates
    units = {
        "cpu_hour": "CPU core hour", "gpu_hour": "GPU hour", "gb_month": "GiB month", "person_hour": "hour of work",
        "prediction_1000": "1000 predictions",
    }  # fmt: skip
    return tuple(r.Rate(name=name, amount=getattr(rates, name), unit=unit, currency=rates.currency) for name, unit in units.items())


@handles(r.AddCost)
def add_cost(request: r.AddCost, scope: Scope) -> r.LedgerEntry:
    """The entry. Raises Invalid unless exactly one of amount and hours is given."""
    if (request.amount is None) == (request.hours is None):
        raise Invalid("A cost is an amount or hours of work.", code="value.cost_amount", hint="Give exactly one of amount and hours.")
    rates = scope.settings.rates
    quantity, unit, rate = (request.hours, "hour", rates.person_hour) if request.amount is None else (1.0, "", request.amount)
    entry = r.LedgerEntry(
        id=new_id(),
        model=request.model,
        kind=request.kind,
        amount=(quantity or 0.0) * rate,
        currency=rates.currency,
        quantity=quantity or 0.0,
        unit=unit,
        rate=rate,
        basis=f"entered: {request.note}"[:1000],
        spent_at=request.spent_at or scope.now,
        created_at=scope.now,
        created_by=scope.who,
    )
    _store(scope).add_entry(entry, f"entered:{entry.id}")
    return entry


@handles(r.ListCosts)
def list_costs(request: r.ListCosts, scope: Scope) -> tuple[r.LedgerEntry, ...]:
    """The ledger."""
    return _store(scope).entries(request.model, request.kind)


@handles(r.BookCosts)
def book_costs(request: r.BookCosts, scope: Scope) -> Callable[[Scope], tuple[r.LedgerEntry, ...]]:
    """New entries."""
    from rung.value import booking  # noqa: PLC0415 - Polars, which `rung up` must not wait for

    bookings = booking.due(scope, request.model, request.as_of or scope.now)
    return lambda inside: booking.book(_store(inside), request.model, bookings)


@handles(r.MakeReport)
def make_report(request: r.MakeReport, scope: Scope) -> Callable[[Scope], r.ValueReport]:
    """The report, kept together with the costs it booked. Raises NotFound."""
    from rung.value import booking, reporting  # noqa: PLC0415 - see book_costs

    matrix = scope.read(lambda inside: _store(inside).get(r.ValueMatrix, request.model))
    bookings = booking.due(scope, request.model, request.as_of or scope.now)
    held = scope.read(lambda inside: _store(inside).entries(request.model))
    seen = {(entry.kind, entry.subject, entry.basis) for entry in held}
    fresh = tuple(entry for _, entry in bookings if (entry.kind, entry.subject, entry.basis) not in seen)
    ledger = tuple(entry for entry in (*held, *fresh) if request.start is None or entry.spent_at >= request.start)
    ledger = tuple(entry for entry in ledger if request.end is None or entry.spent_at < request.end)
    made = reporting.report(request, scope, matrix, ledger)

    def save(inside: Scope) -> r.ValueReport:
        store = _store(inside)
        booking.book(store, request.model, bookings)
        report = replaced(made, number=store.next_number(r.ValueReport, request.model), created_by=inside.who)
        store.add(report)
        return report

    return save


@handles(r.GetReport)
def get_report(request: r.GetReport, scope: Scope) -> r.ValueReport:
    """The report. Raises NotFound."""
    return _store(scope).get(r.ValueReport, request.model, request.number)


@handles(r.ListReports)
def list_reports(request: r.ListReports, scope: Scope) -> tuple[r.ValueReport, ...]:
    """Kept reports."""
    return _store(scope).list(r.ValueReport, request.model, request.limit)


@handles(r.SetRetrainingPolicy)
def set_policy(request: r.SetRetrainingPolicy, scope: Scope) -> r.RetrainingPolicy:
    """The policy now in force. Raises NotFound for an unknown one."""
    POLICIES.get(request.policy)
    store = _store(scope)
    policy = r.RetrainingPolicy(
        id=new_id(), model=request.model, number=store.next_number(r.RetrainingPolicy, request.model), policy=request.policy,
        settings=request.settings, reason=request.reason, created_at=scope.now, created_by=scope.who,
    )  # fmt: skip
    store.add(policy)
    return policy


@handles(r.GetRetrainingPolicy)
def get_policy(request: r.GetRetrainingPolicy, scope: Scope) -> r.RetrainingPolicy:
    """The policy. Raises NotFound."""
    return _store(scope).get(r.RetrainingPolicy, request.model)


@handles(r.ListPolicies)
def list_policies(request: r.ListPolicies, scope: Scope) -> tuple[r.RetrainingPolicy, ...]:
    """The newest of every model."""
    return _store(scope).newest_each(r.RetrainingPolicy)


@handles(r.Decide)
def decide(request: r.Decide, scope: Scope) -> Callable[[Scope], r.Decision]:
    """The decision; the one already made for this incident and instant, if there is one. Raises Invalid, NotFound, Conflict."""
    from rung.value import deciding  # noqa: PLC0415 - see book_costs

    case = deciding.look_up(request, scope)
    held = [item for item in case.earlier if case.incident and item.incident == case.incident.id and item.as_of == case.as_of]
    if held:
        return lambda _: held[0]
    made = deciding.decided(request, scope, case)
    return lambda inside: made if request.dry_run else _keep_decision(inside, made)


def _keep_decision(scope: Scope, made: r.Decision) -> r.Decision:
    from rung.monitoring.sources import ask  # noqa: PLC0415 - see book_costs

    store = _store(scope)
    store.take_turn_to_decide()
    if made.incident:
        for held in store.decisions(incident=made.incident):
            if held.as_of == made.as_of:
                return held
    decision = replaced(made, number=store.next_decision(), created_by=scope.who)
    store.add_decision(decision)
    link(scope, node("model_version", f"{decision.model}:{decision.version}"), "judged_in", node("decision", decision.id))
    if decision.incident:
        link(scope, node("incident", decision.incident), "diagnosed_for", node("decision", decision.id))
        ask(scope, SetIncidentDecision(incident=decision.incident, decision=decision.id))
    emit(
        scope,
        r.DecisionMade(
            decision=decision.id, action=decision.action, deployment=decision.deployment, model=decision.model,
            incident=decision.incident, as_of=decision.as_of,
        ),
    )  # fmt: skip
    return decision


@handles(r.GetDecision)
def get_decision(request: r.GetDecision, scope: Scope) -> r.Decision:
    """The decision. Raises NotFound."""
    return _store(scope).decision(request.decision)


@handles(r.ListDecisions)
def list_decisions(request: r.ListDecisions, scope: Scope) -> tuple[r.Decision, ...]:
    """Decisions, newest first."""
    return _store(scope).decisions(deployment=request.deployment, model=request.model, action=request.action, limit=request.limit)


@handles(r.Realise)
def realise(request: r.Realise, scope: Scope) -> Callable[[Scope], r.RealisedGain]:
    """The realised gain. Raises NotFound, Conflict while nothing has matured."""
    from rung.value import realising  # noqa: PLC0415 - see book_costs

    decision = scope.read(lambda inside: _store(inside).decision(request.decision))
    matrix = scope.read(lambda inside: _store(inside).get(r.ValueMatrix, decision.model))
    gain = realising.realised(request, scope, decision, matrix)

    def save(inside: Scope) -> r.RealisedGain:
        _store(inside).add_realised(gain)
        link(inside, node("decision", decision.id), "brought", node("model_version", f"{gain.model}:{gain.version}"))
        return gain

    return save


@handles(r.ListRealised)
def list_realised(request: r.ListRealised, scope: Scope) -> tuple[r.RealisedGain, ...]:
    """Realised gains."""
    return _store(scope).realised(model=request.model, decision=request.decision)


@handles(r.SaveRehearsal)
def save_rehearsal(request: r.SaveRehearsal, scope: Scope) -> r.Rehearsal:
    """The rehearsal, with the digest of what it was computed as."""
    store = _store(scope)
    names = ("model", "title", "currency", "basis", "periods", "outcomes", "trainings", "wall_s", "settings")
    rehearsal = r.Rehearsal(
        id=new_id(), number=store.next_number(r.Rehearsal, request.model), best=max(request.outcomes, key=lambda item: item.net).policy,
        digest=digest_of(msgspec.json.encode((request.outcomes, request.settings, request.inputs))), created_at=scope.now,
        created_by=scope.who, **{name: getattr(request, name) for name in names},
    )  # fmt: skip
    store.add(rehearsal)
    return rehearsal


@handles(r.GetRehearsal)
def get_rehearsal(request: r.GetRehearsal, scope: Scope) -> r.Rehearsal:
    """The rehearsal. Raises NotFound."""
    return _store(scope).get(r.Rehearsal, request.model, request.number)


@handles(r.ListRehearsals)
def list_rehearsals(request: r.ListRehearsals, scope: Scope) -> tuple[r.Rehearsal, ...]:
    """Kept rehearsals."""
    return _store(scope).list(r.Rehearsal, request.model)


def _store(scope: Scope) -> ValueStore:
    return ValueStore(scope.connection, scope.project)
