"""Decisions of the registry: digests, default gates, what a verdict says, whether an alias may move."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rung.core.digests import digest_of_value
from rung.core.errors import Conflict, Invalid
from rung.core.records import replaced
from rung.registry.approvals import Approval, ApprovalRule, ApprovalState
from rung.registry.logged import UpdateVersion
from rung.registry.records import (
    CHAMPION,
    AliasMove,
    GateResult,
    GateRule,
    GateRules,
    Model,
    ModelCard,
    ModelVersion,
    Promote,
    RegisterVersion,
    Verdict,
)

PROTECTED = frozenset({CHAMPION, "production"})
_DEFAULTS = (
    GateRule(gate="contract"),
    GateRule(gate="better_than_champion"),
    GateRule(gate="no_slice_worse", blocking=False),
)


def version_digest(request: RegisterVersion | ModelVersion) -> str:
    """Digest of everything that decides what a version answers."""
    files = sorted((file.path, file.digest) for file in request.files)
    return digest_of_value([request.format, request.task, files, request.signature, request.classes, request.threshold])


def made_from(version: ModelVersion) -> str:
    """Digest of what a serving artifact is made from: it serves no version with other files, inputs, task or number of classes."""
    files = sorted((file.path, file.digest) for file in version.files)
    inputs = [(field.name, field.dtype) for field in version.signature.inputs]
    return digest_of_value([version.format, version.task, files, inputs, len(version.classes)])


def folder_digest(source: str, files: Iterable[tuple[str, str]]) -> str:
    """Digest of a version that no format reads: its source and the files found there, by path and digest."""
    return digest_of_value([source, sorted(files)])


def check_version(request: RegisterVersion | ModelVersion, model: Model | None) -> None:
    """Raise Invalid or Conflict when parts of a version contradict each other or its model."""
    if model is not None and model.task not in {None, request.task}:
        raise Conflict(
            f"Model {model.name!r} is {model.task}, not {request.task}.", code="registry.other_task", hint="Choose another name."
        )
    wanted = {"binary": 2, "regression": 0}.get(request.task or "")
    if (wanted is not None and len(request.classes) != wanted) or (request.task == "multiclass" and len(request.classes) < 2):  # noqa: PLR2004
        raise Invalid(
            f"A {request.task} model cannot have {len(request.classes)} classes.",
            code="registry.bad_classes",
            hint="Give them in the order of the scores.",
        )
    names = [field.name for field in request.signature.inputs]
    if not names or len(set(names)) < len(names):
        raise Invalid("A signature needs inputs of different names.", code="registry.bad_signature", hint="Derive it from an example.")
    if request.label in names:
        raise Invalid(
            f"The label {request.label!r} is among the inputs.", code="registry.label_in_inputs", hint="Leave it out of the example."
        )
    if request.threshold is not None and request.task != "binary":
        raise Invalid(f"A {request.task} model has no threshold.", code="registry.bad_threshold", hint="Leave it out.")


def default_rules(model: str) -> GateRules:
    """The rules that hold until somebody sets others: it must load and answer, and not be worse than the champion."""
    return GateRules(model=model, rules=_DEFAULTS)


def passed(results: Iterable[GateResult]) -> bool:
    """Whether every blocking result passed."""
    return all(result.passed for result in results if result.blocking)


def reasons(results: Iterable[GateResult], *, first: bool) -> tuple[str, ...]:
    """The reasons of a verdict: of what refused it, or when nothing did of everything."""
    held = list(results)
    refused = [result for result in held if not result.passed and result.blocking]
    told = [f"{result.gate}: {result.reason}"[:1000] for result in (refused or held)]
    return (*(["First version: there is no champion, so only the gates of its own decide."] if first and not refused else []), *told)


def check_promotion(request: Promote, verdict: Verdict | None, held: int | None, version: ModelVersion) -> None:
    """Raise Conflict unless a passing verdict, given against the version that holds the place now, lets it pass.

    An override passes in any case but these: the version is deleted, or holds the alias already.
    """
    if version.deleted_at is not None:
        raise Conflict(f"Version {request.number} is deleted.", code="registry.deleted", hint="Promote another.")
    if held == request.number:
        raise Conflict(f"Version {held} holds {request.alias!r} already.", code="registry.holds_already", hint="Nothing needs doing.")
    if request.override_reason:
        return
    name = f"{request.model}:{request.number}"
    if verdict is None:
        raise Conflict(
            f"{name} has no verdict.",
            code="registry.no_verdict_yet",
            hint=f"`rung model gate {request.model} {request.number}` asks for one.",
        )
    if not verdict.passed:
        raise Conflict(
            f"{name} was refused by its gates: {' '.join(verdict.reasons)}"[:2000],
            code="registry.gate_refused",
            hint="Mend the model, or promote with --override and a reason, which needs model:override.",
        )
    if request.alias == CHAMPION and verdict.champion != held:
        raise Conflict(
            f"The verdict compared {name} with champion {verdict.champion or 'none'}, and the champion is {held or 'none'} now.",
            code="registry.stale_verdict",
            hint=f"Ask again: `rung model gate {request.model} {request.number}`.",
        )


def check_free(alias: str, model: Model) -> None:
    """Raise Conflict for an alias that only a promotion may move."""
    if alias in PROTECTED and model.gated:
        raise Conflict(
            f"Alias {alias!r} of {model.name!r} moves by promotion only.",
            code="registry.protected_alias",
            hint=f"`rung model gate` and `rung model promote {model.name} NUMBER` ask the gates.",
        )


def check_servable(version: ModelVersion) -> None:
    """Raise Conflict for a version that cannot be loaded, with the reason it was given when it was registered."""
    if version.unservable or not version.format:
        raise Conflict(
            f"{version.model}:{version.number} cannot be served: {version.unservable or 'only its address is known.'}"[:2000],
            code="registry.unservable",
            hint=f"Log or register it again, or say what is missing: `rung model describe {version.model} {version.number} --help`.",
        )


def check_labelled(version: ModelVersion) -> None:
    """Raise Conflict for a version of which nobody said which column holds the truth."""
    if not version.label:
        raise Conflict(
            f"Nobody said which column holds the truth for {version.model}:{version.number}.",
            code="registry.no_label",
            hint=f"`rung model describe {version.model} {version.number} --label COLUMN`.",
        )


def completed(version: ModelVersion, request: UpdateVersion) -> ModelVersion:
    """The version with what nobody knew filled in, its digest with it.

    Raises:
        Conflict: it says otherwise already.
        Invalid: what is said contradicts itself.
    """
    given = {
        name: value
        for name, value in (
            ("label", request.label), ("task", request.task), ("classes", request.classes or None), ("threshold", request.threshold)
        )
        if value is not None and value != getattr(version, name)
    }  # fmt: skip
    for name in given:
        held = getattr(version, name)
        if held not in (None, "", ()):
            raise Conflict(
                f"{version.model}:{version.number} has the {name} {held!r} already.",
                code="registry.said_already",
                hint="Versions do not change; register another.",
            )
    changed: ModelVersion = replaced(version, **given)
    if changed.label and changed.label in {field.name for field in changed.signature.inputs}:
        raise Invalid(f"The label {changed.label!r} is among the inputs.", code="registry.label_in_inputs", hint="Name another column.")
    if changed.threshold is not None and changed.task != "binary":
        raise Invalid(
            f"A {changed.task or 'model of no known task'} has no threshold.", code="registry.bad_threshold", hint="Say the task first."
        )
    if given.keys() - {"label"} and changed.format:
        if changed.task == "binary" and not changed.classes:
            changed = replaced(changed, classes=(0, 1))
        changed = replaced(changed, digest=version_digest(changed))
    return changed


def approval_state(
    rule: ApprovalRule, approvals: tuple[Approval, ...], version: ModelVersion, now: datetime, *, asking: str | None
) -> ApprovalState:
    """What approvals come to: each person counts once, for this digest, until it ends; never who made the version.

    Services count only where the rule names their role. With two or more needed, who asks does not count either.
    Whoever says no, of any role, is in the way whatever is needed.
    """
    allowed = set(rule.roles) or {"editor", "maintainer", "owner"}
    standing = [
        held for held in approvals
        if held.digest == version.digest and held.revoked_at is None and (held.until is None or held.until > now)
    ]  # fmt: skip
    refusals = {held.by: held.comment for held in standing if held.rejected}
    counted = {
        held.by
        for held in standing
        if not held.rejected and held.by != version.created_by and held.role in allowed and not (rule.needed > 1 and held.by == asking)
    }
    told = [f"{by} says no: {comment}" for by, comment in refusals.items()]
    if len(counted) < rule.needed:
        of = f" of a {' or '.join(rule.roles)}" if rule.roles else ""
        told.append(f"It has {len(counted)} of {rule.needed} approvals{of} that count for its digest.")
    return ApprovalState(
        rule=rule, approvals=approvals, counted=len(counted), missing=" ".join(told)[:1000], rejected_by=tuple(refusals)
    )  # fmt: skip


def merged(held: dict[str, str], given: dict[str, str | None]) -> dict[str, str]:
    """Tags with the given ones set, and those given as None removed."""
    return {key: value for key, value in {**held, **given}.items() if value is not None}


def card(
    version: ModelVersion, evaluations: list[tuple[str, dict[str, float], int]], verdicts: tuple[Verdict, ...], moves: tuple[AliasMove, ...]
) -> ModelCard:
    """A version told in Markdown, from records only."""
    gaps = [gap for gap, missing in _gaps(version, evaluations, verdicts).items() if missing]
    lines = [f"# {version.model}:{version.number}", "", version.description or "*No description.*", ""]
    facts = {
        "task": version.task, "label": version.label, "threshold": version.threshold, "format": version.format,
        "source": version.source, "cannot be served": version.unservable, "stage": "" if version.stage == "none" else version.stage,
        "size": f"{version.size_bytes:,} bytes", "digest": version.digest, "registered": f"{version.created_at:%Y-%m-%d %H:%M}Z",
        "by": version.created_by,
        "aliases": ", ".join(version.aliases), "run": version.run_id, "pipeline run": version.pipeline_run_id,
        "commit": version.git_commit + (" (dirty)" if version.git_dirty else ""), "lock": version.lock,
        "libraries": ", ".join(f"{name} {number}" for name, number in version.libraries.items()),
        "data": ", ".join(f"{use.dataset}:{use.number} ({use.role})" for use in version.datasets),
    }  # fmt: skip
    lines += [f"- **{name}**: {value}" for name, value in facts.items() if value not in (None, "")]
    lines += ["", "## Inputs", "", "| column | type | may be null |", "|---|---|---|"]
    lines += [f"| {field.name} | {field.dtype} | {'yes' if field.nullable else 'no'} |" for field in version.signature.inputs]
    lines += ["", "## Scores", ""]
    for dataset, scores, rows in evaluations:
        lines += [f"- on {dataset} ({rows:,} rows): " + ", ".join(f"{name} {value:.4f}" for name, value in sorted(scores.items()))]
    lines += ["", "## Verdicts", ""]
    for verdict in verdicts:
        lines += [f"- {'passed' if verdict.passed else 'refused'} {verdict.created_at:%Y-%m-%d %H:%M}Z: {' '.join(verdict.reasons)}"]
    lines += ["", "## Aliases", ""]
    for move in moves:
        why = f", override: {move.override_reason}" if move.override_reason else ""
        lines += [f"- {move.at:%Y-%m-%d %H:%M}Z {move.alias}: {move.previous or '–'} → {move.number or '–'} by {move.by}{why}"]
    lines += ["", "## Not recorded", ""] + ([f"- {gap}" for gap in gaps] or ["- nothing is missing"])
    return ModelCard(model=version.model, number=version.number, markdown="\n".join(lines) + "\n", gaps=tuple(gaps))


def _gaps(version: ModelVersion, evaluations: list[tuple[str, dict[str, float], int]], verdicts: tuple[Verdict, ...]) -> dict[str, bool]:
    return {
        "a description": not version.description,
        "what it predicts": version.task is None,
        "the label": not version.label,
        "the run it came from": version.run_id is None,
        "the data it was trained on": not version.datasets,
        "the lock of its libraries": not version.lock,
        "the commit of its code": not version.git_commit,
        "an evaluation": not evaluations,
        "a verdict": not verdicts,
    }
