"""What a dossier says, from records given; a chapter names what its records leave open."""

from __future__ import annotations

from collections.abc import Sequence

from rung.delivery.records import DossierSection
from rung.monitoring.records import Incident
from rung.registry.records import ModelCard, ModelVersion, Verdict
from rung.value.records import Decision, Goal, RetrainingPolicy, ValueMatrix, ValueReport


def sections(
    version: ModelVersion,
    verdicts: Sequence[Verdict],
    money: tuple[Goal | None, ValueMatrix | None, ValueReport | None, RetrainingPolicy | None],
    incidents: Sequence[Incident],
    decisions: Sequence[Decision],
) -> tuple[DossierSection, ...]:
    """The chapters beside the model card."""
    return (_identity(version), _gates(verdicts), *_money(*money), _operation(incidents, decisions))


def markdown(model: str, number: int, chapters: Sequence[DossierSection], card: ModelCard) -> str:
    """The dossier as one document, the version's card at its end."""
    lines = [f"# Dossier of {model}:{number}", ""]
    for chapter in chapters:
        lines += [f"## {chapter.title}", "", *(f"- **{name}**: {value}" for name, value in chapter.facts)]
        lines += [*(f"- Gap: {gap}" for gap in chapter.gaps), ""]
    return "\n".join([*lines, card.markdown])


def _identity(version: ModelVersion) -> DossierSection:
    named = {"git commit": version.git_commit, "lock": version.lock, "tracking run": version.run_id or ""}
    datasets = ", ".join(f"{use.dataset}:{use.number} ({use.role})" for use in version.datasets)
    facts = [("digest", version.digest), ("format", version.format), ("task", version.task or ""), ("datasets", datasets)]
    facts += list(named.items())
    gaps = [f"No {name} is on record." for name, value in [*named.items(), ("dataset version", datasets)] if not value]
    if version.git_dirty:
        gaps.append("The working tree held changes that are in no commit.")
    return DossierSection(title="Identity and origin", facts=tuple(fact for fact in facts if fact[1]), gaps=tuple(gaps))


def _gates(verdicts: Sequence[Verdict]) -> DossierSection:
    facts = tuple((f"verdict of {item.created_at:%Y-%m-%d}", ("passed" if item.passed else "failed") + _because(item)) for item in verdicts)
    return DossierSection(title="Gates", facts=facts, gaps=() if verdicts else ("It never met its gates.",))


def _because(verdict: Verdict) -> str:
    return f": {' '.join(verdict.reasons)}" if verdict.reasons else ""


def _money(
    goal: Goal | None, matrix: ValueMatrix | None, report: ValueReport | None, policy: RetrainingPolicy | None
) -> tuple[DossierSection, ...]:
    purpose = (
        () if goal is None else (("goal", goal.goal), ("figure", goal.kpi), ("owner", goal.owner), ("backup", goal.backup or "nobody"))
    )
    facts: list[tuple[str, str]] = []
    gaps: list[str] = []
    if matrix is None:
        gaps.append("No value matrix is set.")
    else:
        facts.append(("value matrix", f"tp {matrix.tp:g}, fp {matrix.fp:g}, fn {matrix.fn:g}, tn {matrix.tn:g} {matrix.currency}"))
    if report is None:
        gaps.append("No value report was made.")
    else:
        facts.append(("net value", f"{report.net.estimate:.2f} {report.currency}; {report.basis_note}"))
    if policy is None:
        gaps.append("No retraining policy is declared.")
    else:
        facts.append(("retraining policy", f"{policy.policy}: {policy.reason}"))
    return (
        DossierSection(title="Purpose", facts=purpose, gaps=() if goal else ("No goal and no owner are written down.",)),
        DossierSection(title="Value", facts=tuple(facts), gaps=tuple(gaps)),
    )


def _operation(incidents: Sequence[Incident], decisions: Sequence[Decision]) -> DossierSection:
    facts = [(f"incident {item.number}", f"{item.title} ({item.cause or 'no cause yet'}, {item.status})") for item in incidents]
    facts += [(f"decision {item.number}", f"{item.action}: {item.reasons[0]}") for item in decisions]
    return DossierSection(title="Operation", facts=tuple(facts), gaps=() if facts else ("No incident and no decision is on record.",))
