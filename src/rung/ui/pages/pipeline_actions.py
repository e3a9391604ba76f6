"""The acts on pipelines, runs, triggers and packages. Each is one request; its answer is the page to show next."""

from __future__ import annotations

from collections.abc import Callable

from rung.core.errors import Invalid
from rung.core.ids import new_id
from rung.engine.records import FireTrigger, SettleFire
from rung.pipelines.packaging import ApprovePackage, RejectPackage
from rung.pipelines.records import CancelPipelineRun, GetPipeline, GetPipelineRun, PipelineRun, ResumePipelineRun, RunPipeline
from rung.pipelines.reproducing import Reproduce
from rung.pipelines.triggering import PauseTriggers
from rung.ui import words
from rung.ui.blocks import Visit
from rung.ui.pages.run_form import PREFIX, read
from rung.ui.words import address

_HOW = ("seed", "fresh", "executor", "priority", "audit")


def run_pipeline(visit: Visit, form: dict[str, str]) -> str:
    """Queue a run; where a field cannot be taken, lead back to the form with what was written in it."""
    info = visit.ask(GetPipeline(pipeline=_given(form, "pipeline")))
    texts = {name.removeprefix(PREFIX): text for name, text in form.items() if name.startswith(PREFIX)}
    params, problems = read(info, texts)
    if problems:
        pairs = [(PREFIX + name, text) for name, text in texts.items()] + [(name, form.get(name, "")) for name in _HOW]
        return f"{address('pipelines', info.name)}?{words.query_of([*pairs, ('checked', 1)])}#run"
    wish = RunPipeline(
        pipeline=info.name, params=params, seed=_number(form, "seed"), use_cache=form.get("fresh") != "1", executor=form.get("executor", "").strip(),
        priority=_number(form, "priority", least=-100, most=100), audit=form.get("audit") == "1", concurrency_group=info.concurrency_group,
        concurrency_limit=info.concurrency_limit,
    )  # fmt: skip
    return _run(visit.ask(wish))


def cancel(visit: Visit, form: dict[str, str]) -> str:
    """Ask a run to stop."""
    return _run(visit.ask(CancelPipelineRun(id=_given(form, "id"))))


def resume(visit: Visit, form: dict[str, str]) -> str:
    """Queue a run that did not succeed once more."""
    return _run(visit.ask(ResumePipelineRun(id=_given(form, "id"))))


def rerun(visit: Visit, form: dict[str, str]) -> str:
    """Start a run like another one; from a step on, if one is chosen, the others keep their results."""
    held = visit.ask(GetPipelineRun(id=_given(form, "id"))).run
    step = form.get("step", "")
    wish = RunPipeline(
        pipeline=held.pipeline, params=held.params, seed=held.seed, use_cache=held.use_cache, priority=held.priority, executor=held.executor,
        environment=held.environment, package=held.package, concurrency_group=held.concurrency_group, concurrency_limit=held.concurrency_limit,
        audit=held.audited, rerun_of=held.id if step else None, rerun_from=(step,) if step else (),
    )  # fmt: skip
    return _run(visit.ask(wish))


def reproduce(visit: Visit, form: dict[str, str]) -> str:
    """Queue the isolated re-execution of a run."""
    return _run(visit.ask(Reproduce(id=_given(form, "id"), rebuild=form.get("rebuild") == "1")))


def pause_triggers(visit: Visit, form: dict[str, str]) -> str:
    """Pause or resume one trigger, or all where none is named."""
    name = form.get("name") or None
    visit.ask(PauseTriggers(name=name, paused=form.get("paused") != "no"))
    return address("triggers", name) if name else "/triggers"


def fire_trigger(visit: Visit, form: dict[str, str]) -> str:
    """Call upon a trigger by hand; its guard rails hold."""
    name = _given(form, "name")
    fire = visit.ask(FireTrigger(name=name, cause=f"page {new_id()}", dry=form.get("dry") == "1"))
    return address("pipeline-runs", fire.pipeline_run) if fire.pipeline_run else address("triggers", name)


def settle_fire(visit: Visit, form: dict[str, str]) -> str:
    """Approve or refuse a call that waits."""
    fire = visit.ask(SettleFire(id=_given(form, "id"), approve=form.get("approve") == "yes", note=form.get("note", "")[:1000]))
    return address("triggers", fire.trigger_name)


def approve_package(visit: Visit, form: dict[str, str]) -> str:
    """Approve a package for an environment."""
    package = _given(form, "package")
    visit.ask(ApprovePackage(package=package, environment=_given(form, "environment"), comment=form.get("comment", "")))
    return address("packages", package)


def reject_package(visit: Visit, form: dict[str, str]) -> str:
    """Say no to a package in an environment, and why."""
    package = _given(form, "package")
    visit.ask(RejectPackage(package=package, environment=_given(form, "environment"), comment=_given(form, "comment")))
    return address("packages", package)


PIPELINES: dict[str, Callable[[Visit, dict[str, str]], str]] = {
    "run-pipeline": run_pipeline, "cancel-pipeline-run": cancel, "resume-pipeline-run": resume, "rerun-pipeline": rerun, "reproduce-run": reproduce,
    "pause-triggers": pause_triggers, "fire-trigger": fire_trigger, "settle-fire": settle_fire, "approve-package": approve_package,
    "reject-package": reject_package,
}  # fmt: skip


def _run(held: PipelineRun) -> str:
    return address("pipeline-runs", held.id)


def _given(form: dict[str, str], name: str) -> str:
    value = form.get(name, "").strip()
    if not value:
        raise Invalid(f"The form says nothing for {name!r}.", code="ui.missing_field", hint="Fill in every field.")
    return value


def _number(form: dict[str, str], name: str, *, least: int = 0, most: int = 2**32 - 1) -> int:
    text = form.get(name, "").strip() or "0"
    if not text.lstrip("-").isdecimal() or len(text) > 12 or not least <= int(text) <= most:  # noqa: PLR2004 - no bound has more digits
        raise Invalid(f"{name} is {text[:80]!r}.", code="ui.bad_field", hint=f"Give a whole number from {least} to {most}.")
    return int(text)
