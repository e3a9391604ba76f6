"""One step of a pipeline run: its log as it grows, what it was given and made, its tries, its items, why it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast, get_args

from markupsafe import Markup

from rung.core.errors import NotFound
from rung.pipelines.records import (
    Artifact,
    GetPipelineRun,
    ItemStatus,
    ListStepItems,
    LogChunk,
    PipelineRun,
    PipelineRunDetail,
    StepItem,
    StepLog,
    StepRun,
    StepSpec,
)
from rung.ui import words
from rung.ui.blocks import Facts, Page, Part, Stats, Table, Visit, Words
from rung.ui.logs import readable
from rung.ui.pages.graphs import tone, when_it_runs
from rung.ui.pages.outputs import outputs_part
from rung.ui.pages.pipelines import declared, tabs
from rung.ui.words import MISSING, address, digest, joined, link, pill, when

_TAIL = 128 << 10
_PART = 256 << 10
_ITEMS = 100
_MANY_STEPS = 500
_ERROR_SHOWN = 50_000


def step(visit: Visit) -> Page:
    """One step of a pipeline run. Raises NotFound for one that the run does not have."""
    detail, held, spec = _found(visit)
    run = detail.run
    base = address("pipeline-runs", run.id, "steps", held.key)
    live: list[object] = [tabs(""), _way(detail, held), _stats(held)]
    if held.error:
        live.append(Words(held.error[:_ERROR_SHOWN], "Error", code=True))
    live += _why(visit, held)
    if held.items:
        live += _items(visit, run, held, base)
    log = _log(visit, run, held, base, detail)
    rest = [*_given(detail, spec), *outputs_part(visit, run, held, base), *_tries(detail, held, base), *_declared(held, spec)]
    running = held.status == "running" or (held.status == "waiting" and run.status in {"queued", "running"})
    took = f" in {words.lasted(held.wall_s)}" if held.started_at and held.status != "running" else ""
    head = f"{held.key} {'is running' if held.status == 'running' else held.status}{took}"
    head += f" after {held.attempts} tries." if held.attempts > 1 and held.status == "failed" else "."
    return Page(
        "Step", head, live, f"rung pipeline log {run.pipeline}:{run.number} {held.key}", {"step": held, "spec": spec}, live=running, refresh_s=2,
        still=[*log, *rest], scripts=("log.js",), shape=f"{held.status} {held.attempts}",
    )  # fmt: skip


def step_log(visit: Visit) -> Page:
    """Part of a step's log from ``offset`` on: what the page of the step asks for again and again."""
    run, key, offset, attempt = visit.path["id"], visit.path["step"], visit.number("offset") or 0, visit.number("attempt") or None
    chunk = visit.ask(StepLog(pipeline_run=run, step=key, offset=min(offset, 2**62), attempt=attempt, limit_bytes=_PART))
    base = address("pipeline-runs", run, "steps", key)
    more = Markup('<a href="{}?{}" rel="next">Further</a>').format(
        f"{base}/log", words.query(offset=chunk.next_offset, attempt=attempt or "")
    )
    blocks: list[object] = [Words(readable(chunk.text) or "Nothing more was printed.", code=True)]
    blocks += [Words(more)] if not chunk.finished and chunk.text else []
    blocks.append(Words(link("The step", "pipeline-runs", run, "steps", key)))
    head = f"{key} printed {words.size(chunk.size_bytes)}; here from byte {chunk.offset:,} on."
    return Page("Log", head, blocks, f"rung pipeline log {run} {key}", {"chunk": chunk})


def step_item(visit: Visit) -> Page:
    """One ended item of a map. Raises NotFound."""
    detail, held, _ = _found(visit)
    position = visit.number("item") or 0
    found = visit.ask(ListStepItems(pipeline_run=detail.run.id, step=held.key, after=min(position, 2**31 - 1) - 1, limit=1))
    if not found or found[0].position != position:
        raise NotFound(
            f"{held.key} has no ended item {position}.", code="ui.no_page", hint="Items count from 0; the step's page lists them."
        )
    item, base = found[0], address("pipeline-runs", detail.run.id, "steps", held.key)
    facts = [
        ("of", link(held.key, "pipeline-runs", detail.run.id, "steps", held.key)), ("state", pill(item.status)), ("tries", item.attempts),
        ("wall time", words.lasted(item.wall_s)), ("CPU time", words.lasted(item.cpu_s)), ("peak memory", words.size(item.peak_bytes)),
        ("worker", item.worker or MISSING), ("ended", when(item.ended_at)), ("cache key", digest(item.cache_key)),
    ]  # fmt: skip
    blocks: list[object] = [Facts(facts, wide=True)]
    blocks += [Words(item.error[:_ERROR_SHOWN], "Error", code=True)] if item.error else []
    if item.log:
        text = visit.transport.get_blob(item.log)[-_TAIL:].decode("utf-8", "replace")
        blocks.append(Words(readable(text), "Log", code=True))
    blocks += outputs_part(visit, detail.run, item, base)
    head = f"Item {position} of {held.key} {item.status} in {words.lasted(item.wall_s)}."
    return Page("Item", head, blocks, f"rung pipeline log {detail.run.pipeline}:{detail.run.number} {held.key}", {"item": item})


def _found(visit: Visit) -> tuple[PipelineRunDetail, StepRun, StepSpec | None]:
    detail = visit.ask(GetPipelineRun(id=visit.path["id"]))
    held = next((s for s in detail.steps if s.key == visit.path["step"]), None)
    if held is None:
        known = ", ".join(s.key for s in detail.steps[:20]) or "none yet"
        raise NotFound(
            f"{detail.run.pipeline}:{detail.run.number} has no step {visit.path['step']!r}.", code="ui.no_page", hint=f"It has: {known}."
        )
    return detail, held, next((spec for spec in detail.run.steps if spec.key == held.key), None)


def _way(detail: PipelineRunDetail, held: StepRun) -> Words:
    """Back to the run, and to the steps before and after this one."""
    run, keys = detail.run, [step.key for step in detail.steps]
    at = keys.index(held.key)
    parts: list[object] = [link(f"{run.pipeline}:{run.number}", "pipeline-runs", run.id), pill(run.status)]
    parts += [Markup("← ") + link(keys[at - 1], "pipeline-runs", run.id, "steps", keys[at - 1])] if at else []
    parts += [link(keys[at + 1], "pipeline-runs", run.id, "steps", keys[at + 1]) + Markup(" →")] if at + 1 < len(keys) else []
    return Words(joined(parts, " \u00a0 "))


def _stats(held: StepRun) -> Stats:
    items: list[tuple[str, object, str]] = [("state", pill(held.status, tone(held.status)), "")]
    if held.attempts:
        items += [("batches", held.attempts, "")] if held.items else [("tries", held.attempts, "warn" if held.attempts > 1 else "")]
    if held.ended_at and held.status != "cached":
        items += [("wall time", words.lasted(held.wall_s), ""), ("CPU time", words.lasted(held.cpu_s), "")]
    items += [("peak memory", words.size(held.peak_bytes), "")] if held.peak_bytes else []
    if held.items:
        items.append(("items", f"{held.items_done:,} of {held.items:,}", ""))
        items.append(("from cache", f"{held.items_cached:,}", "accent" if held.items_cached else ""))
        items.append(("failed", f"{held.items_failed:,}", "bad" if held.items_failed else ""))
    return Stats(items)


def _why(visit: Visit, held: StepRun) -> list[object]:
    """The reason in words, what differs from the result it was compared with, and what an audit noticed."""
    blocks: list[object] = [Words(held.reason, "Why it ran, or did not")] if held.reason else []
    if held.changes:
        rows = [(change.part, change.name, change.before or "not there", change.after or "gone") for change in held.changes]
        blocks.append(Table(("part", "which", "before", "now"), rows, "" if held.reason else "Why it ran, or did not", tall=True))
    if held.undeclared:
        note = "Declare them, as inputs, files or variables of the step, or its cache cannot know when they change."
        blocks.append(Table(("read without being declared",), [(line,) for line in held.undeclared], "Undeclared", note))
    return blocks


def _log(visit: Visit, run: PipelineRun, held: StepRun, base: str, detail: PipelineRunDetail) -> list[object]:
    """The end of the log; where scripts run, the page goes on reading from there."""
    numbers = [attempt.number for attempt in detail.attempts if attempt.step_run == held.id]
    if not numbers:
        why = "It came from the cache, so nothing was printed." if held.status == "cached" else "It has not begun, so nothing was printed."
        return [Words(why, "Log")]
    chosen = visit.number("attempt") or numbers[-1]
    if chosen not in numbers:
        raise NotFound(f"{held.key} has no try {chosen}.", code="ui.no_page", hint=f"It has: {', '.join(map(str, numbers))}.")

    def part(offset: int, limit: int = _TAIL) -> LogChunk:
        return visit.ask(StepLog(pipeline_run=run.id, step=held.key, attempt=chosen, offset=offset, limit_bytes=limit))

    first = part(0, 1)
    start = max(0, first.size_bytes - _TAIL)
    chunk = part(start)
    tries = [(f"{base}?attempt={number}#log", f"try {number}", number == chosen) for number in numbers] if len(numbers) > 1 else []
    values = {
        "text": readable(chunk.text), "start": start, "left": words.size(start) if start else "", "src": f"{base}/log.json?attempt={chosen}", "tries": tries,
        "running": held.status == "running", "whole": f"/step-logs/{run.id}/{address(held.key)[1:]}?attempt={chosen}", "size": words.size(chunk.size_bytes),
    }  # fmt: skip
    return [Part("log.html", values, "Log")]


def _items(visit: Visit, run: PipelineRun, held: StepRun, base: str) -> list[object]:
    """Ended items of a map, a page of them, by state if one is chosen."""
    state = visit.query.get("items", "")
    if state and state not in get_args(ItemStatus):
        raise NotFound(f"Items are never {state!r}.", code="ui.no_page", hint=f"They are {', '.join(get_args(ItemStatus))}.")
    after = (visit.number("after") or 0) - 1
    wish = cast("ItemStatus | None", state or None)
    asked = ListStepItems(pipeline_run=run.id, step=held.key, status=wish, after=max(-1, min(after, 2**31 - 2)), limit=_ITEMS + 1)
    found = visit.ask(asked)
    rows = [_item(item, run, held) for item in found[:_ITEMS]]
    states = [
        (f"{base}?{words.query(items=one)}#items" if one else f"{base}#items", one or "all", one == state)
        for one in ("", *get_args(ItemStatus))
    ]
    note: object = "" if rows else "None has ended so far." if not state else f"None is {state}."
    if len(found) > _ITEMS:
        note = Markup('<a href="{}?{}#items" rel="next">Further items</a>').format(
            base, words.query(items=state, after=found[_ITEMS].position)
        )
    columns = ("item", "state", "tries", "wall", "CPU", "peak memory", "answered", "error")
    return [Words("", "Items"), Part("tabs.html", {"label": "Items by state", "tabs": states}), Table(columns, rows, note=note)]


def _item(item: StepItem, run: PipelineRun, held: StepRun) -> tuple[object, ...]:
    error = item.error.strip().rpartition("\n")[2][:300]
    answered = ", ".join(f"{o.kind} {words.size(o.size_bytes)}" for o in item.outputs) or MISSING
    return (
        link(item.position, "pipeline-runs", run.id, "steps", held.key, "items", item.position), pill(item.status), item.attempts,
        words.lasted(item.wall_s), words.lasted(item.cpu_s), words.size(item.peak_bytes) if item.peak_bytes else MISSING, answered, error or MISSING,
    )  # fmt: skip


def _given(detail: PipelineRunDetail, spec: StepSpec | None) -> list[object]:
    """What each parameter was given: outputs of other steps, or plain values."""
    if spec is None:
        return []
    made = {step.key: step.outputs for step in detail.steps}
    rows: list[tuple[object, ...]] = []
    for name, sources in spec.inputs.items():
        for source in sources[:20]:
            rows += [(name, *_source(detail.run, one, made)) for one in source.split("|")]
        rows += [(name, f"and {len(sources) - 20} more", MISSING, MISSING, MISSING)] if len(sources) > 20 else []  # noqa: PLR2004 - as above
    rows += [(name, words.plain(value)[:500], "value", MISSING, MISSING) for name, value in spec.arguments.items()]
    return [Table(("parameter", "from", "kind", "size", "digest"), rows, "Given")] if rows else []


def _source(run: PipelineRun, source: str, made: Mapping[str, Sequence[Artifact]]) -> tuple[object, ...]:
    key, _, number = source.rpartition(".")
    if not (key and number.isdecimal()):
        key, number = source, "0"
    outputs = made.get(key, ())
    place = Markup('<a href="{}#outputs">{}</a>').format(address("pipeline-runs", run.id, "steps", key), key)
    if int(number) >= len(outputs):
        return place, MISSING, MISSING, MISSING
    held = outputs[int(number)]
    return place + f" {held.name}", held.kind, words.size(held.size_bytes), digest(held.digest)


def _tries(detail: PipelineRunDetail, held: StepRun, base: str) -> list[object]:
    rows = [
        (
            Markup('<a href="{}?attempt={}#log">{}</a>').format(base, a.number, a.number), pill(a.status), a.executor, a.worker, when(a.started_at),
            words.lasted(a.wall_s), words.lasted(a.cpu_s), words.size(a.peak_bytes) if a.peak_bytes else MISSING, a.error.strip().rpartition("\n")[2][:300] or MISSING,
        )
        for a in detail.attempts
        if a.step_run == held.id
    ]  # fmt: skip
    return [Table(("try", "state", "executor", "worker", "started", "wall", "CPU", "peak memory", "error"), rows, "Tries")] if rows else []


def _declared(held: StepRun, spec: StepSpec | None) -> list[object]:
    options = spec.options if spec else None
    facts: list[tuple[str, object]] = [
        ("function", spec.target if spec else MISSING), ("what it does", words.prose(spec.doc) if spec else ""), ("runs", when_it_runs(spec) if spec else ""),
        ("options", ", ".join(declared(options)) if options else ""), ("lock of its own", options.environment if options else ""),
        ("secrets, by name", ", ".join(options.secrets) if options else ""), ("cache key", digest(held.cache_key)), ("code", digest(held.fingerprint)),
        ("taken from", held.cached_from or ""), ("compared with", held.compared_with or ""), ("executor", held.executor),
    ]  # fmt: skip
    return [Facts([(name, value) for name, value in facts if value != ""], "How it is declared", wide=True)]
