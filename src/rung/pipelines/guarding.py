"""Whether a trigger that is called upon may fire: every guard rail as a check with its figure, and the answer they give together."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from rung.pipelines.quiet import quiet_until
from rung.pipelines.scheduling import zone_of
from rung.pipelines.triggering import Figures, FireOutcome, Guards, Period, Trigger, TriggerCheck

LONGEST_WAIT = timedelta(days=7)
_CURED_BY_TIME = {"cooldown", "most", "budget", "labels", "quiet", "concurrency", "approval"}
_LOOK_AGAIN = {"concurrency": timedelta(seconds=30), "labels": timedelta(minutes=10), "budget": timedelta(minutes=10)}
_SOONEST, _LATEST = timedelta(seconds=5), timedelta(hours=1)
_FIGURES = 4


@dataclass(frozen=True)
class Case:
    """What is known when a trigger is called: instants, its history, what runs, and the figures of higher floors.

    ``last_started`` and ``started`` count calls that started a run, or would have but for a dry run, by their ``as_of``.
    """

    as_of: datetime
    now: datetime
    last_started: datetime | None = None
    started: int = 0
    active: tuple[str, ...] = ()
    figures: Figures = field(default_factory=Figures)
    approved_by: str = ""


@dataclass(frozen=True)
class Answer:
    """What becomes of a call, and in one sentence why."""

    outcome: FireOutcome
    reason: str
    due_at: datetime | None = None
    give_up_at: datetime | None = None
    would: str = ""


def checks(trigger: Trigger, case: Case) -> tuple[TriggerCheck, ...]:
    """Every guard rail that is set, in the order in which they are told."""
    guards = trigger.guards
    found = [_paused(trigger)] if trigger.paused else []
    if guards.cooldown_s:
        found.append(_cooldown(guards, case))
    if guards.most:
        found.append(_most(guards, case))
    if wants_labels(guards):
        found.append(_labels(guards, case))
    if guards.budget is not None:
        found.append(_budget(guards, guards.budget, case))
    if guards.quiet:
        found.append(_quiet(guards, case))
    if guards.concurrency != "allow":
        found.append(_concurrency(trigger, case))
    if guards.approval:
        found.append(_approval(case))
    return tuple(found)


def wants_labels(guards: Guards) -> bool:
    """Whether labels must have arrived."""
    return bool(guards.min_labelled or guards.min_labels or guards.min_label_age_s)


def wants_figures(guards: Guards) -> bool:
    """Whether a guard needs figures of higher floors."""
    return wants_labels(guards) or guards.budget is not None


def answer(trigger: Trigger, found: tuple[TriggerCheck, ...], why: str, case: Case, *, asked_at: datetime, dry: bool = False) -> Answer:
    """The answer to a call that came at ``asked_at``, from all checks; ``why`` is told when it fires."""
    plain = _answer(trigger, found, why, asked_at, case)
    if not (dry or trigger.guards.dry) or plain.outcome == "not_met":
        return plain
    return Answer(
        outcome="dry", reason=f"Dry run; it would be {plain.outcome.replace('_', ' ')}: {plain.reason}"[:1000], would=plain.outcome
    )


def period_start(period: Period, zone: str, at: datetime) -> datetime:
    """The first instant of the calendar period an instant lies in, by the wall clock of a zone; weeks begin on Monday."""
    local = at.astimezone(zone_of(zone))
    if period == "hour":
        return at.astimezone(UTC) - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "week":
        day -= timedelta(days=day.weekday())
    elif period == "month":
        day = day.replace(day=1)
    elif period == "year":
        day = day.replace(month=1, day=1)
    return day.astimezone(UTC)


def period_end(period: Period, zone: str, at: datetime) -> datetime:
    """The first instant after the calendar period an instant lies in."""
    if period == "hour":
        return period_start(period, zone, at) + timedelta(hours=1)
    steps = {"day": 1, "week": 7, "month": 32, "year": 367}
    local = period_start(period, zone, at).astimezone(zone_of(zone))
    return period_start("day" if period in {"day", "week"} else period, zone, (local + timedelta(days=steps[period])).astimezone(UTC))


def _answer(trigger: Trigger, found: tuple[TriggerCheck, ...], why: str, asked_at: datetime, case: Case) -> Answer:
    now = case.now
    failed = [check for check in found if not check.passed]
    if not failed:
        return Answer(outcome="fired", reason=why[:1000])
    reason = " ".join(check.statement for check in failed)[:1000]
    if failed[0].guard == "condition":
        return Answer(outcome="not_met", reason=reason)
    patient = trigger.guards.patience_s > 0
    waits = {"approval"} | ({"concurrency"} if trigger.guards.concurrency == "queue" else set())
    if all(check.guard in (_CURED_BY_TIME if patient else waits) for check in failed):
        give_up = asked_at + (timedelta(seconds=trigger.guards.patience_s) if patient else LONGEST_WAIT)
        if now < give_up:
            return Answer(outcome="waiting", reason=reason, due_at=min(now + _pause(failed, case), give_up), give_up_at=give_up)
        reason = f"It waited until {_told(give_up)}. {reason}"[:1000]
    return Answer(outcome="held_back", reason=reason)


def _pause(failed: list[TriggerCheck], case: Case) -> timedelta:
    """How long until the last of the reasons may have passed, at most an hour; most of them go by the time of the data, quiet hours by the clock."""
    pauses = [
        check.until - (case.now if check.guard == "quiet" else case.as_of) if check.until else _LOOK_AGAIN.get(check.guard, _LATEST)
        for check in failed
    ]
    return min(max(*pauses, _SOONEST), _LATEST)


def _paused(trigger: Trigger) -> TriggerCheck:
    return TriggerCheck(guard="paused", passed=False, statement=f"Trigger {trigger.name} is paused.")


def _cooldown(guards: Guards, case: Case) -> TriggerCheck:
    # A start that lies further off in the future than the cool-down is long was dated by a clock that went wrong.
    length = timedelta(seconds=guards.cooldown_s)
    last = case.last_started
    passed = last is None or abs(case.as_of - last) >= length
    since = f"the last start was {_told(last)}" if last else "it has not started before"
    until = None if passed or last is None else last + length
    words = f"It cools down until {_told(until)}" if until else f"It has cooled down for {_length(guards.cooldown_s)}"
    value = (case.as_of - last).total_seconds() if last else None
    return TriggerCheck(
        guard="cooldown", passed=passed, statement=f"{words}: {since}.", value=value, line=guards.cooldown_s, until=until
    )  # fmt: skip


def _most(guards: Guards, case: Case) -> TriggerCheck:
    end = period_end(guards.most_period, guards.zone, case.as_of)
    passed = case.started < guards.most
    return TriggerCheck(
        guard="most", passed=passed, value=float(case.started), line=float(guards.most), until=None if passed else end,
        statement=f"It has started {case.started} of at most {guards.most} runs this {guards.most_period}, which ends {_told(end)}.",
    )  # fmt: skip


def _labels(guards: Guards, case: Case) -> TriggerCheck:
    held = case.figures.labels
    if held is None:
        why = case.figures.missing.get("labels", "nobody has looked")
        return TriggerCheck(guard="labels", passed=False, statement=f"How many labels have arrived is not known: {why}"[:1000])
    share = held.labelled / held.rows if held.rows else 0.0
    age = (held.as_of - held.end).total_seconds()
    faults = []
    if share < guards.min_labelled:
        faults.append(f"{guards.min_labelled:.0%} are asked for")
    if held.labelled < guards.min_labels:
        faults.append(f"{guards.min_labels} labels are asked for")
    if age < guards.min_label_age_s:
        faults.append(f"the period must have ended {_length(guards.min_label_age_s)} ago")
    told = f"{held.labelled} of {held.rows} predictions of {held.deployment} from {_told(held.start)} to {_told(held.end)} have a label ({share:.0%})"
    return TriggerCheck(
        guard="labels", passed=not faults, value=share, line=guards.min_labelled, statement=f"{'; '.join([told, *faults])}."[:1000],
        until=held.end + timedelta(seconds=guards.min_label_age_s) if age < guards.min_label_age_s else None,
    )  # fmt: skip


def _budget(guards: Guards, budget: float, case: Case) -> TriggerCheck:
    held = case.figures.spend
    if held is None:
        why = case.figures.missing.get("spend", "nobody has looked")
        return TriggerCheck(guard="budget", passed=False, statement=f"What has been spent is not known: {why}"[:1000])
    passed = held.spent + held.estimate <= budget
    end = period_end(guards.budget_period, guards.zone, case.as_of)
    told = f"{held.spent:.2f} {held.currency} are spent this {guards.budget_period}, one more run takes about {held.estimate:.2f}"
    return TriggerCheck(
        guard="budget", passed=passed, value=held.spent + held.estimate, line=budget, until=None if passed else end,
        statement=f"{told}; the budget is {budget:.2f}.",
    )  # fmt: skip


def _quiet(guards: Guards, case: Case) -> TriggerCheck:
    until = quiet_until(guards.quiet, guards.zone, case.now)
    words = f"These are quiet hours ({', '.join(guards.quiet)} in {guards.zone}), until {_told(until)}." if until else ""
    return TriggerCheck(guard="quiet", passed=until is None, statement=words or f"No quiet hours now in {guards.zone}.", until=until)


def _concurrency(trigger: Trigger, case: Case) -> TriggerCheck:
    busy = f"Pipeline {trigger.pipeline} is busy with {', '.join(case.active[:_FIGURES])}{' …' if len(case.active) > _FIGURES else ''}."
    words = busy if case.active else f"No run of pipeline {trigger.pipeline} is under way."
    return TriggerCheck(guard="concurrency", passed=not case.active, statement=words[:1000], value=float(len(case.active)), line=0.0)


def _approval(case: Case) -> TriggerCheck:
    words = f"{case.approved_by} has approved it." if case.approved_by else "It waits for somebody's approval."
    return TriggerCheck(guard="approval", passed=bool(case.approved_by), statement=words)


def _told(at: datetime | None) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if at else "never"


def _length(seconds: float) -> str:
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {name}"
    return f"{seconds:g} s"
