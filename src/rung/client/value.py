"""Value matrix, cost ledger, reports, decisions and rehearsal from Python."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rung.client.transports import Transport
from rung.value import records as r

if TYPE_CHECKING:
    from rung.value.replay import World
    from rung.value.worlds import Train


class ValueVerbs:
    """Verbs of value."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def set_matrix(self, model: str, **amounts: Any) -> r.ValueMatrix:
        """Say what each outcome is worth: tp, fp, fn, tn, or over, under, free; also before_per_1000, currency, note."""
        return self._transport.call(r.SetMatrix(model=model, **amounts))

    def matrix(self, model: str, number: int | None = None) -> r.ValueMatrix:
        """The value matrix in force, or an earlier one."""
        return self._transport.call(r.GetMatrix(model=model, number=number))

    def matrices(self) -> tuple[r.ValueMatrix, ...]:
        """The value matrix of every model that has one."""
        return self._transport.call(r.ListMatrices())

    def set_goal(self, model: str, *, goal: str, kpi: str, owner: str, backup: str = "") -> r.Goal:
        """Write down why a model exists, by what it is judged and who answers for it."""
        return self._transport.call(r.SetGoal(model=model, goal=goal, kpi=kpi, owner=owner, backup=backup))

    def goal(self, model: str) -> r.Goal:
        """The goal of a model."""
        return self._transport.call(r.GetGoal(model=model))

    def rates(self) -> tuple[r.Rate, ...]:
        """Declared prices."""
        return self._transport.call(r.ListRates())

    def add_cost(
        self,
        model: str,
        kind: r.CostKind,
        *,
        note: str,
        amount: float | None = None,
        hours: float | None = None,
        spent_at: datetime | None = None,
    ) -> r.LedgerEntry:
        """Enter a cost: an amount, or hours of work."""
        return self._transport.call(r.AddCost(model=model, kind=kind, note=note, amount=amount, hours=hours, spent_at=spent_at))

    def costs(self, model: str | None = None, kind: r.CostKind | None = None) -> tuple[r.LedgerEntry, ...]:
        """The cost ledger."""
        return self._transport.call(r.ListCosts(model=model, kind=kind))

    def book_costs(self, model: str, *, as_of: datetime | None = None) -> tuple[r.LedgerEntry, ...]:
        """Enter what runs, serving and storage cost since the last time."""
        return self._transport.call(r.BookCosts(model=model, as_of=as_of))

    def report(
        self,
        model: str,
        *,
        deployment: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        as_of: datetime | None = None,
    ) -> r.ValueReport:
        """Compute and keep a value report."""
        return self._transport.call(r.MakeReport(model=model, deployment=deployment, start=start, end=end, as_of=as_of))

    def get_report(self, model: str, number: int | None = None) -> r.ValueReport:
        """A kept value report."""
        return self._transport.call(r.GetReport(model=model, number=number))

    def reports(self, model: str | None = None) -> tuple[r.ValueReport, ...]:
        """Kept value reports, newest first."""
        return self._transport.call(r.ListReports(model=model))

    def set_policy(self, model: str, policy: str, *, reason: str, settings: r.PolicySettings | None = None) -> r.RetrainingPolicy:
        """Choose the retraining policy of a model."""
        return self._transport.call(
            r.SetRetrainingPolicy(model=model, policy=policy, reason=reason, settings=settings or r.PolicySettings())
        )

    def policy(self, model: str) -> r.RetrainingPolicy:
        """The retraining policy of a model."""
        return self._transport.call(r.GetRetrainingPolicy(model=model))

    def policies(self) -> tuple[r.RetrainingPolicy, ...]:
        """The retraining policy of every model that has one."""
        return self._transport.call(r.ListPolicies())

    def decide(
        self,
        incident: str | int | None = None,
        *,
        deployment: str | None = None,
        challenger: int | None = None,
        as_of: datetime | None = None,
        dry_run: bool = False,
    ) -> r.Decision:
        """Decide what follows from an incident, or from the state of a deployment."""
        key = None if incident is None else str(incident)
        return self._transport.call(r.Decide(incident=key, deployment=deployment, challenger=challenger, as_of=as_of, dry_run=dry_run))

    def decision(self, decision: str | int) -> r.Decision:
        """A decision by id or number."""
        return self._transport.call(r.GetDecision(decision=str(decision)))

    def decisions(
        self, *, deployment: str | None = None, model: str | None = None, action: r.Action | None = None
    ) -> tuple[r.Decision, ...]:
        """Decisions, newest first."""
        return self._transport.call(r.ListDecisions(deployment=deployment, model=model, action=action))

    def realise(self, decision: str | int, *, end: datetime | None = None, as_of: datetime | None = None) -> r.RealisedGain:
        """What a retraining really changed, on rows that have matured since."""
        return self._transport.call(r.Realise(decision=str(decision), end=end, as_of=as_of))

    def realised(self, model: str | None = None, decision: str | None = None) -> tuple[r.RealisedGain, ...]:
        """Realised gains, newest first."""
        return self._transport.call(r.ListRealised(model=model, decision=decision))

    def rehearse(
        self,
        model: str,
        history: Any,
        train: Train | None = None,
        *,
        time_column: str = "time",
        label: str = "label",
        inputs: list[str] | None = None,
        every: str = "1mo",
        first: int = 2,
        delay: int = 0,
        causes: Mapping[str, str] | None = None,
        threshold: float | None = None,
        cost: float | None = None,
        policies: Sequence[str] | None = None,
        settings: r.PolicySettings | None = None,
        title: str = "",
    ) -> r.Rehearsal:
        """Replay history under retraining policies in this process, and keep the result.

        Args:
            model: whose value matrix counts.
            history: a frame of events, or a ``World`` (then the arguments up to ``causes`` are not used).
            train: gets the rows before an instant; returns a fitted estimator, or a function from rows to scores.
            time_column: when each event happened. label: column of the truth.
            inputs: columns the model is given; default all others.
            every: length of a period, such as ``1mo`` or ``1w``. first: number of the first period served.
            delay: periods until labels are known.
            causes: diagnosed causes by period, such as ``{"2013-05": "data_break"}``.
            threshold: score from which a case is acted on; default that of the value matrix.
            cost: money of one retraining; default the policy's people hours at the declared rate.
            policies: which to compare; default all five. settings: their numbers.
            title: a line that tells this rehearsal from others.

        Raises:
            NotFound: no value matrix, or an unknown policy. Invalid: the history cannot be replayed.
        """
        from rung.value import replay, rules  # noqa: PLC0415 - NumPy and Polars only for those who rehearse

        matrix = self.matrix(model)
        settings = settings or r.PolicySettings()
        hours = next(rate.amount for rate in self.rates() if rate.name == "person_hour") * settings.people_hours
        world = self._world(history, train, time_column, label, inputs, every, first, delay, causes)
        classified = any((matrix.tp, matrix.fp, matrix.fn, matrix.tn))
        limit = threshold if threshold is not None else rules.theoretical_threshold(matrix)
        stakes = replay.Stakes(matrix=matrix, threshold=limit if classified else None, cost=hours if cost is None else cost)
        began = time.perf_counter()
        outcomes, trainings = replay.rehearse(world, stakes, settings, policies or tuple(replay.TITLES))
        basis = (
            f"{len(world.periods) - world.first} periods; value matrix {matrix.number}; "
            + (f"acted on from a score of {limit:.3f}; " if classified else "")
            + f"one retraining costs {stakes.cost:g} {matrix.currency}; labels known after {world.delay} periods"
        )
        return self._transport.call(
            r.SaveRehearsal(
                model=model, title=title, currency=matrix.currency, basis=basis, periods=tuple(world.periods[world.first :]),
                outcomes=outcomes, trainings=trainings, wall_s=time.perf_counter() - began, settings=settings,
            )
        )  # fmt: skip

    @staticmethod
    def _world(
        history: Any,
        train: Train | None,
        time_column: str,
        label: str,
        inputs: list[str] | None,
        every: str,
        first: int,
        delay: int,
        causes: Mapping[str, str] | None,
    ) -> World:
        from rung.value.worlds import FrameWorld  # noqa: PLC0415 - see rehearse

        if train is None:
            return history  # type: ignore[no-any-return]  # a World of the caller's
        return FrameWorld(
            history, train, time_column=time_column, label=label, inputs=inputs, every=every, first=first, delay=delay, causes=causes
        )

    def rehearsal(self, model: str, number: int | None = None) -> r.Rehearsal:
        """A kept rehearsal."""
        return self._transport.call(r.GetRehearsal(model=model, number=number))

    def rehearsals(self, model: str | None = None) -> tuple[r.Rehearsal, ...]:
        """Kept rehearsals, newest first."""
        return self._transport.call(r.ListRehearsals(model=model))
