"""Two pipeline runs side by side: parameters, steps, outputs by digest, metrics, code line by line, libraries."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import msgspec
from markupsafe import Markup

from rung.core.errors import Denied, NotFound
from rung.pipelines.installed import parsed
from rung.pipelines.project import files_of
from rung.pipelines.records import GetPipelineRun, PipelineRun, PipelineRunDetail, StepRun
from rung.tracking.records import GetRun
from rung.ui import words
from rung.ui.blocks import Page, Part, Table, Visit, Words
from rung.ui.packages import differences, packages
from rung.ui.pages.graphs import tone
from rung.ui.pages.pipelines import tabs, why
from rung.ui.words import MISSING, digest, joined, link, number, pill, when

_FILES, _LINES, _LARGEST = 20, 400, 512 << 10
_MOST_LINES = 6000  # of a file; longer ones take too long to be compared line by line
_MOST_STEPS, _MOST_ROWS = 500, 300
_OPEN = 3


def run_compare(visit: Visit) -> Page:
    """The runs ``before`` and ``after`` of the address, by id or ``pipeline:number``. Raises NotFound."""
    asked = [visit.query.get(name, "") for name in ("before", "after")]
    if not all(asked):
        raise NotFound("The address names no two runs.", code="ui.no_page", hint="Write /pipeline-compare?before=RUN&after=RUN.")
    before, after = (visit.ask(GetPipelineRun(id=key)) for key in asked)
    names = [f"{detail.run.pipeline}:{detail.run.number}" for detail in (before, after)]
    if names[0] == names[1]:
        names = [f"{name} ({side})" for name, side in zip(names, ("before", "after"), strict=True)]
    everything = visit.query.get("all") == "1"
    steps, told = _steps(before, after, everything=everything)
    circumstances = _circumstances(before.run, after.run, everything=everything)
    metrics = _metrics(visit, before.run, after.run, everything=everything)
    params = _params(before.run, after.run, everything=everything)
    code, files = _code(visit, before.run, after.run)
    heads = tuple(link(name, "pipeline-runs", detail.run.id) for name, detail in zip(names, (before, after), strict=True))
    blocks: list[object] = [
        tabs(""), _controls(asked, everything=everything),
        Table(("", *heads), circumstances, "How they were run"), Table(("parameter", *heads), params, "Parameters", "" if params else "They are equal."),
        Table(("metric", *heads, "difference"), metrics, "Metrics", "" if metrics else "None differ."),
        Table(("step", *heads, "took", "took", "outputs"), steps, "Steps", told), *code, *_libraries(visit, before.run, after.run),
    ]  # fmt: skip
    differing = sum("different" in str(row[5]) for row in steps)
    head = (
        f"{names[0]} and {names[1]}: {words.many(len(params), 'parameter')}, {words.many(differing, 'output')}, "
        f"{words.many(len(metrics), 'metric')} and {words.many(files, 'file')} of code differ."
    )
    data = {"before": before.run.id, "after": after.run.id}
    return Page("Compare", head, blocks, f"rung pipeline status {names[1]}", data)


def _controls(asked: Sequence[str], *, everything: bool) -> Part:
    swap = f"/pipeline-compare?{words.query(before=asked[1], after=asked[0], all='1' if everything else '')}"
    other = f"/pipeline-compare?{words.query(before=asked[0], after=asked[1], all='' if everything else '1')}"
    return Part("acts.html", {"forms": (), "links": [(swap, "Swap"), (other, "Only what differs" if everything else "Also what is equal")]})


def _circumstances(before: PipelineRun, after: PipelineRun, *, everything: bool) -> list[tuple[object, ...]]:
    rows: list[tuple[str, object, object]] = [
        ("state", pill(before.status), pill(after.status)),
        ("started", when(before.started_at), when(after.started_at)),
    ]
    rows += [
        ("wall time", words.lasted(before.wall_s), words.lasted(after.wall_s)),
        ("CPU time", words.lasted(before.cpu_s), words.lasted(after.cpu_s)),
    ]
    for name, values in (
        ("why", [why(run) for run in (before, after)]), ("by", [run.created_by for run in (before, after)]), ("seed", [str(run.seed) for run in (before, after)]),
        ("code", [run.code for run in (before, after)]), ("commit", [run.git_commit for run in (before, after)]), ("lock", [run.lock for run in (before, after)]),
        ("Python", [run.python for run in (before, after)]), ("package", [run.package for run in (before, after)]),
        ("environment", [run.environment for run in (before, after)]), ("executor", [run.executor for run in (before, after)]),
        *((f"machine: {key}", [str(run.hardware.get(key, "")) for run in (before, after)]) for key in sorted({*before.hardware, *after.hardware})),
        *((f"switch: {key}", [run.switches.get(key, "") for run in (before, after)]) for key in sorted({*before.switches, *after.switches})),
        *((f"read: {key}", [run.inputs.get(key, "") for run in (before, after)]) for key in sorted({*before.inputs, *after.inputs})),
    ):  # fmt: skip
        if everything or values[0] != values[1]:
            shown = [digest(value) if len(value) > 40 or name == "commit" else value or MISSING for value in values]  # noqa: PLR2004 - digests are longer
            rows.append((name, shown[0], shown[1]))
    return list(rows[:_MOST_ROWS])


def _params(before: PipelineRun, after: PipelineRun, *, everything: bool) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for name in sorted({*before.params, *after.params}):
        if everything or repr(before.params.get(name)) != repr(after.params.get(name)):
            rows.append((name, *(words.plain(run.params[name])[:500] if name in run.params else MISSING for run in (before, after))))
    return rows[:_MOST_ROWS]


def _metrics(visit: Visit, before: PipelineRun, after: PipelineRun, *, everything: bool) -> list[tuple[object, ...]]:
    held = [found.metrics if run.run_id and (found := visit.find(GetRun(run=run.run_id))) else {} for run in (before, after)]
    rows: list[tuple[object, ...]] = []
    for name in sorted({*held[0], *held[1]}):
        first, second = held[0].get(name), held[1].get(name)
        if everything or first != second:
            rows.append(
                (
                    name,
                    number(first, 6),
                    number(second, 6),
                    number(second - first, 3) if first is not None and second is not None else MISSING,
                )
            )
    return rows[:_MOST_ROWS]


def _steps(before: PipelineRunDetail, after: PipelineRunDetail, *, everything: bool) -> tuple[list[tuple[object, ...]], str]:
    held = [{step.key: step for step in detail.steps} for detail in (before, after)]
    keys = list(dict.fromkeys([*held[1], *held[0]]))
    rows: list[tuple[object, ...]] = []
    equal = 0
    for key in keys:
        first, second = held[0].get(key), held[1].get(key)
        alike = _outputs(first, second)
        if (
            not everything
            and first
            and second
            and first.status == second.status
            and "different" not in str(alike)
            and first.reason == second.reason
        ):
            equal += 1
            continue
        rows.append(
            (
                key,
                *(_step(step, detail.run) for step, detail in ((first, before), (second, after))),
                *(_took(step) for step in (first, second)),
                alike,
            )
        )
    left = max(0, len(rows) - _MOST_STEPS)
    told = " ".join(
        filter(None, (f"{words.many(equal, 'step')} went alike." if equal else "", f"{left:,} more are left out." if left else ""))
    )
    return rows[:_MOST_STEPS], told


def _step(step: StepRun | None, run: PipelineRun) -> object:
    if step is None:
        return MISSING
    return joined(
        [
            link(step.key, "pipeline-runs", run.id, "steps", step.key),
            pill(step.status, tone(step.status)),
            Markup('<div class="small">{}</div>').format(step.reason),
        ]
    )


def _took(step: StepRun | None) -> str:
    return words.lasted(step.wall_s) if step and step.started_at and step.status != "cached" else MISSING


def _outputs(first: StepRun | None, second: StepRun | None) -> object:
    if first is None or second is None or not (first.outputs or second.outputs):
        return MISSING
    names = [
        artifact.name
        for artifact in first.outputs
        if artifact.digest not in {other.digest for other in second.outputs if other.name == artifact.name}
    ]
    names += [artifact.name for artifact in second.outputs if artifact.name not in {other.name for other in first.outputs}]
    return joined([pill("different"), ", ".join(names)[:300]]) if names else pill("equal", "ok")


def _code(visit: Visit, before: PipelineRun, after: PipelineRun) -> tuple[list[object], int]:
    """Files that differ between two code trees, line by line where they are text of a size to be read."""
    if not before.code or not after.code:
        return [Words("One of them has no code that was kept.", "Code")], 0
    if before.code == after.code:
        return [Words("They ran the same code.", "Code")], 0
    try:
        first, second = files_of(before.code, visit.transport.get_blob), files_of(after.code, visit.transport.get_blob)
    except (NotFound, Denied, msgspec.DecodeError, msgspec.ValidationError):
        return [Words("Their code differs, and one of the two is not there any more, or not for you to read.", "Code")], 0
    changed = [path for path in sorted({*first, *second}) if first.get(path) != second.get(path)]
    rows = [
        (path, pill("added" if path not in first else "removed" if path not in second else "changed", "accent"))
        for path in changed[:_MOST_ROWS]
    ]
    blocks: list[object] = [Table(("file", "what"), rows, "Code", "" if rows else "The files are the same, in another order.")]
    for path in changed[:_FILES]:
        blocks.append(
            Part(
                "diff.html",
                {"title": path, "lines": _diff(visit, path, first.get(path, ""), second.get(path, "")), "open": len(changed) <= _OPEN},
            )
        )
    return blocks, len(changed)


def _diff(visit: Visit, path: str, before: str, after: str) -> list[tuple[str, str]]:
    texts = []
    for held in (before, after):
        try:
            data = visit.transport.get_blob(held) if held else b""
        except NotFound:
            return [("note", "One of the two is not there any more.")]
        if len(data) > _LARGEST or b"\x00" in data[:8192]:
            return [("note", "Too large to be shown, or no text.")]
        texts.append(data.decode("utf-8", "replace").splitlines()[: _MOST_LINES + 1])
    if any(len(lines) > _MOST_LINES for lines in texts):
        return [("note", f"Longer than {_MOST_LINES:,} lines.")]
    found = list(difflib.unified_diff(texts[0], texts[1], f"before/{path}", f"after/{path}", lineterm="", n=3))[2:]
    kinds = {"+": "added", "-": "removed", "@": "place"}
    lines = [(kinds.get(line[:1], "same"), line[:1000]) for line in found[:_LINES]]
    return [*lines, ("note", f"{len(found) - _LINES:,} more lines.")] if len(found) > _LINES else lines


def _libraries(visit: Visit, before: PipelineRun, after: PipelineRun) -> list[object]:
    """What was installed, distribution by distribution; where that is not known, the locks."""
    if before.packages and after.packages:
        if before.packages == after.packages:
            return [Words("The same libraries were installed.", "Libraries")]
        held = [_installed(visit, run.packages) for run in (before, after)]
    else:
        if before.lock == after.lock:
            return [Words("They have the same lock.", "Libraries")]
        held = [_locked(visit, run.lock) for run in (before, after)]
    rows = [
        (name, pill(what, "warn" if what == "changed" else "accent"), first or MISSING, second or MISSING)
        for name, what, first, second in differences(*held)
    ]
    note = "" if rows else "They differ in a way that names and versions do not show, or cannot be read."
    return [Table(("library", "what", "before", "after"), rows, "Libraries", note, tall=True)]


def _installed(visit: Visit, held: str) -> Mapping[str, str]:
    try:
        return {
            name: f"{version} ({mark[:8]})" if mark else version for name, (version, mark) in parsed(visit.transport.get_blob(held)).items()
        }
    except (NotFound, Denied, UnicodeDecodeError):
        return {}


def _locked(visit: Visit, held: str) -> Mapping[str, str]:
    if not held:
        return {}
    try:
        data = visit.transport.get_blob(held)
    except (NotFound, Denied):
        return {}
    return packages(data, "uv.lock" if b"[[package]]" in data else "requirements.txt")
