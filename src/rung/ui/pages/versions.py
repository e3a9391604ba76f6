"""One model version: verdict, evaluations by slice, approvals, what it takes, what it was made from, what can be done."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from rung.core.errors import RungError
from rung.evaluation.records import Evaluation, ListEvaluations
from rung.registry.approvals import ApprovalState, ListApprovals
from rung.registry.records import GateResult, GetVersion, ListVerdicts, ModelVersion, Verdict
from rung.ui import words
from rung.ui.blocks import Charts, Facts, Form, Page, Part, Stats, Table, Visit
from rung.ui.charts.bars import bar_chart
from rung.ui.markdown import rendered
from rung.ui.pages.models import main_metric
from rung.ui.words import MISSING, joined, link, number, pill, when

_ROWS, _COLUMNS, _FILES = 5, 40, 100
_UNTIMED = "not timed: the model refuses the row of its input example"


def version(visit: Visit) -> Page:
    """One model version."""
    name, which = visit.path["model"], visit.number("number")
    held = visit.ask(GetVersion(model=name, number=which))
    verdicts = visit.find(ListVerdicts(model=name, number=held.number)) or ()
    evaluations = visit.find(ListEvaluations(model=name, number=held.number)) or ()
    approvals = visit.find(ListApprovals(model=name, number=held.number))
    blocks: list[object] = []
    if held.description:
        blocks.append(Part("words.html", {"text": rendered(held.description)}))
    if evaluations:
        blocks.append(Stats([(metric, number(value), "") for metric, value in _first(evaluations)[:8]]))
    if verdicts:
        rows = [_gate(gate) for gate in verdicts[0].gates]
        columns = ("", "gate", "metric", "slice", "measured", "limit", "interval", "why")
        blocks.append(Table(columns, rows, "Newest verdict", note=" ".join(verdicts[0].reasons)))
    blocks += _slices(evaluations)
    blocks += _approvals(approvals)
    blocks += [_decide(held), Facts(_facts(held), "About this version", wide=True), *_serves(held), *_contract(visit, held), *_kept(held)]
    if held.deleted_at is None:
        blocks.append(_change(held))
    data = {"version": held, "verdicts": verdicts, "evaluations": evaluations, "approvals": approvals}
    return Page("Model version", _headline(held, verdicts, approvals), blocks, f"rung model show {name} {held.number}", data)


def _headline(held: ModelVersion, verdicts: Sequence[Verdict], approvals: ApprovalState | None) -> str:
    name = f"{held.model}:{held.number}"
    if held.deleted_at is not None:
        return f"{name} is deleted."
    if held.unservable:
        return f"{name} is kept, and cannot be served."
    state = ("passed its gates" if verdicts[0].passed else "was refused by its gates") if verdicts else "has met no gate yet"
    if approvals is not None and approvals.rejected_by:
        state += f", and {' and '.join(approvals.rejected_by)} rejected it"
    elif approvals is not None and approvals.missing:
        state += f", and has {approvals.counted} of {approvals.rule.needed} approvals"
    return f"{name} {state}."


def _approvals(state: ApprovalState | None) -> list[object]:
    if state is None or not (state.approvals or state.rule.needed):
        return []
    rows = [
        (
            held.by, held.role, pill("no" if held.rejected else "yes") if held.revoked_at is None else pill("taken back", "muted"),
            held.comment or MISSING, when(held.created_at), when(held.until), words.digest(held.digest),
        )
        for held in state.approvals
    ]  # fmt: skip
    needed = f"{state.counted} of {state.rule.needed} approvals that are needed." if state.rule.needed else ""
    return [Table(("by", "role", "says", "comment", "when", "until", "of the digest"), rows, "Approvals", note=state.missing or needed)]


def _decide(held: ModelVersion) -> Part:
    hidden = {"model": held.model, "number": str(held.number)}
    looked_at = {**hidden, "digest": held.digest}
    if held.deleted_at is not None:
        forms = [] if held.purged else [Form("/act/restore-version", "Restore", hidden)]
        return Part("fold.html", {"title": "Change this version", "forms": forms, "open": True})
    forms = [
        Form("/act/promote", f"Promote {held.model}:{held.number} to champion", hidden, [("reason", "Reason", "")]),
        Form("/act/approve-version", "Approve", looked_at, [("comment", "What you looked at", "")]),
        Form("/act/reject-version", "Reject", looked_at, [("comment", "Why", "")]),
    ]
    return Part("fold.html", {"title": "Decide on this version", "forms": forms, "open": True})


def _change(held: ModelVersion) -> Part:
    hidden = {"model": held.model, "number": str(held.number)}
    forms = [
        Form("/act/describe-version", "Save description", hidden, [("note", "Description", held.description)]),
        Form("/act/tag-version", "Set tag", hidden, [("key", "Tag", ""), ("value", "Value", "")]),
        Form("/act/delete-version", "Delete", hidden),
    ]
    return Part("fold.html", {"title": "Change this version", "forms": forms})


def _facts(held: ModelVersion) -> list[tuple[str, object]]:
    predicts = f"{held.task}, label {held.label or 'not said'}" if held.task else "nobody said"
    logged, pipeline = held.logged_model, held.pipeline_run_id
    facts: list[tuple[str, object]] = [
        ("aliases", joined([pill(a, "ok") for a in held.aliases])),
        ("stage", held.stage if held.stage != "none" else MISSING),
        ("predicts", predicts),
        ("classes", ", ".join(str(item) for item in held.classes) or MISSING),
        ("threshold", number(held.threshold)),
        ("cannot be served", held.unservable),
        ("run", link(held.run_id[:8], "runs", held.run_id) if held.run_id else MISSING),
        ("logged model", link(f"m-{logged[:8]}", "logged-models", logged) if logged else ""),
        ("pipeline run", link(pipeline[:8], "pipeline-runs", pipeline) if pipeline else MISSING),
        ("datasets", joined([link(f"{d.dataset}:{d.number} ({d.role})", "datasets", d.dataset, d.number) for d in held.datasets])),
        ("source", held.source),
        ("digest", words.digest(held.digest)),
        ("lock", words.digest(held.lock)),
        ("commit", joined([words.digest(held.git_commit), "with changes" if held.git_dirty else ""])),
        ("format", f"{held.format or 'none that Rung reads'}, {words.size(held.size_bytes)}"),
        ("registered", when(held.created_at)),
        ("by", held.created_by),
        ("deleted", when(held.deleted_at) if held.deleted_at else ""),
        ("lineage", link("what it came from", "lineage", "model_version", f"{held.model}:{held.number}")),
    ]
    return [(name, value) for name, value in facts if value != ""]


def _serves(held: ModelVersion) -> list[object]:
    """Which engine answers, how far from the model's own library, and how much faster."""
    engine = held.engine
    if engine is None:
        return []
    if engine.engine == "native":
        facts: list[tuple[str, object]] = [("engine", "the model's own library"), ("why", engine.reason)]
        row = f"{number(engine.native_us)} µs" if engine.native_us else _UNTIMED
        return [Facts([*facts, ("one row", row)], "What serves it", wide=True)]
    timed = engine.cost_us and engine.native_us
    faster = f"{engine.native_us / engine.cost_us:,.0f} times faster" if timed else ""
    facts = [
        ("engine", joined([pill(engine.engine, "ok"), "with Rung's compiled part" if engine.compiled_part else "with NumPy alone"])),
        ("largest difference", f"{engine.largest_difference:.2g} over {engine.rows:,} rows held against the model's own library"),
        (
            "one row",
            f"{number(engine.cost_us)} µs, {number(engine.native_us)} µs by the model's own library: {faster}" if timed else _UNTIMED,
        ),
        ("artifact", joined([words.digest(engine.artifact), words.size(engine.size_bytes)])),
        ("compiled", when(engine.compiled_at)),
    ]
    return [Facts(facts, "What serves it", wide=True)]


def _contract(visit: Visit, held: ModelVersion) -> list[object]:
    """Signature and input example: what a request must hold, and what is answered."""
    rows = [("takes", f.name, f.dtype, "may be null" if f.nullable else "never null") for f in held.signature.inputs]
    rows += [("gives", f.name, f.dtype, "") for f in held.signature.outputs]
    blocks: list[object] = [Table(("", "column", "type", "nulls"), rows, "Signature")] if rows else []
    if held.input_example:
        blocks.append(_example(visit, held.input_example))
    return blocks


def _example(visit: Visit, digest: str) -> Table:
    import polars as pl  # noqa: PLC0415 - most pages need no frame

    title = "Input example"
    try:
        frame = pl.read_parquet(BytesIO(visit.transport.get_blob(digest)))
    except (RungError, pl.exceptions.PolarsError) as error:
        return Table(("",), [], title, note=f"It cannot be shown: {str(error).splitlines()[0]}")
    left_out = [f"{frame.height - _ROWS:,} more rows"] if frame.height > _ROWS else []
    left_out += [f"{frame.width - _COLUMNS:,} more columns"] if frame.width > _COLUMNS else []
    rows = [tuple(str(value)[:200] if value is not None else MISSING for value in row) for row in frame[:_ROWS, :_COLUMNS].rows()]
    return Table(tuple(frame.columns[:_COLUMNS]), rows, title, note=" and ".join(left_out))


def _kept(held: ModelVersion) -> list[object]:
    """Tags, files, libraries."""
    tables = (
        ("Tags", ("tag", "value"), [(name, value[:500]) for name, value in sorted(held.tags.items())]),
        ("Files", ("file", "size", "digest"), [(f.path, words.size(f.size_bytes), words.digest(f.digest)) for f in held.files[:_FILES]]),
        ("Libraries", ("library", "version"), sorted(held.libraries.items())),
    )
    return [Table(columns, rows, f"{title} ({len(rows)})", folded=title != "Tags") for title, columns, rows in tables if rows]


def _first(evaluations: tuple[Evaluation, ...]) -> list[tuple[str, float]]:
    main = main_metric(evaluations)
    return sorted(evaluations[0].scores.items(), key=lambda pair: pair[0] != main)


def _slices(evaluations: tuple[Evaluation, ...]) -> list[object]:
    if not evaluations:
        return []
    newest = evaluations[0]
    metric = main_metric(evaluations)
    figures = []
    for column in dict.fromkeys(s.column for s in newest.slices):
        items = [(s.slice, s.scores[metric]) for s in newest.slices if s.column == column and metric in s.scores]
        if items:
            figures.append(
                bar_chart(
                    f"{metric} by {column}",
                    items[:20],
                    label=metric,
                    limits=[(newest.scores[metric], "all rows")] if metric in newest.scores else (),
                )
            )
    rows = [
        (
            link(f"{e.dataset}:{e.dataset_number}", "datasets", e.dataset, e.dataset_number),
            number(e.rows),
            *(number(v) for v in list(e.scores.values())[:6]),
            when(e.created_at),
        )
        for e in evaluations
        if list(e.scores) == list(newest.scores)
    ]
    return [
        Charts(figures, f"Slices of {newest.dataset}:{newest.dataset_number}" if figures else ""),
        Table(("dataset", "rows", *list(newest.scores)[:6], "when"), rows, "Evaluations"),
    ]


def _gate(g: GateResult) -> tuple[object, ...]:
    interval = f"{number(g.low)} … {number(g.high)}" if g.low is not None and g.high is not None else MISSING
    return (
        pill("passed" if g.passed else "failed", None if g.passed or g.blocking else "warn"),
        g.gate,
        g.metric or MISSING,
        g.slice or "all",
        number(g.value),
        number(g.limit),
        interval,
        g.reason,
    )
