"""Data: datasets, their versions with schema and profile, what changed between two; and the feature views made of them."""

from __future__ import annotations

from rung.data.records import (
    ColumnProfile,
    DatasetVersion,
    DiffVersions,
    GetDataset,
    GetProfile,
    GetValidation,
    GetVersion,
    ListDatasets,
    ListVersions,
)
from rung.features.records import GetView, ListViews
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Facts, Page, Stats, Table, Visit, Words
from rung.ui.charts.bars import bar_chart, histogram, tiny_histogram
from rung.ui.words import MISSING, link, number, pill, when

_FIGURES = 9
_EMPTY = 'import rung\n\nclient = rung.connect()\nclient.data.add("flights", "flights.csv", note="first delivery")'
_VIEW = 'client.features.apply(FeatureView(name="weather", entity=("origin",), dataset="weather", time_column="time", features=(Feature(name="wind"),)))'


def datasets(visit: Visit) -> Page:
    """Every dataset."""
    held = visit.ask(ListDatasets(limit=500)).items
    if not held:
        return Page(
            "Data",
            "There is no data yet.",
            [Empty("A dataset is a named table or folder; every delivery is a version.", "rung data add flights flights.csv", _EMPTY)],
            "rung data list",
            {"datasets": ()},
        )
    rows = [
        (
            link(d.name, "datasets", d.name),
            d.latest or MISSING,
            number(d.rows),
            words.size(d.size_bytes),
            pill(d.validation),
            d.owner or MISSING,
            when(d.created_at),
        )
        for d in held
    ]
    failed = [d.name for d in held if d.validation == "failed"]
    head = f"{words.many(len(held), 'dataset')}; " + (
        f"{', '.join(failed[:3])} fails its expectations." if failed else "none fails its expectations."
    )
    return Page(
        "Data",
        head,
        [Table(("dataset", "latest", "rows", "size", "validation", "owner", "since"), rows)],
        "rung data list",
        {"datasets": held},
    )


def dataset(visit: Visit) -> Page:
    """One dataset with its versions."""
    name = visit.path["dataset"]
    held = visit.ask(GetDataset(dataset=name))
    versions = visit.ask(ListVersions(dataset=name)).items
    rows = [
        (
            link(f"{name}:{v.number}", "datasets", name, v.number),
            number(v.rows),
            v.columns,
            words.size(v.size_bytes),
            pill(v.validation),
            v.note or MISSING,
            when(v.created_at),
            v.created_by,
            link("changes", "datasets", name, v.number, "diff") if v.number > 1 else MISSING,
        )
        for v in versions
    ]
    sizes = [(f"version {v.number}", float(v.rows)) for v in reversed(versions[:24]) if v.rows is not None]
    figures = [bar_chart("Rows of each version", sizes, label="rows")] if len(sizes) > 1 else []
    facts = Facts([("what it is", held.description or MISSING), ("owner", held.owner or MISSING), ("source", held.source or MISSING)])
    blocks = [
        facts,
        Table(("version", "rows", "columns", "size", "validation", "note", "added", "by", "diff"), rows, "Versions"),
        Charts(figures),
    ]
    return Page(
        "Dataset",
        f"{name} has {words.many(len(versions), 'version')}; the latest is {held.validation}.",
        blocks,
        f"rung data log {name}",
        {"dataset": held, "versions": versions},
    )


def version(visit: Visit) -> Page:
    """One dataset version: schema, profile, validation."""
    name, which = visit.path["dataset"], visit.number("number")
    held = visit.ask(GetVersion(dataset=name, number=which))
    profile = visit.find(GetProfile(dataset=name, number=which))
    validation = visit.find(GetValidation(dataset=name, number=which))
    columns = profile.columns if profile else ()
    blocks: list[object] = [
        Stats(
            [
                ("rows", number(held.rows), ""),
                ("columns", len(held.schema), ""),
                ("size", words.size(held.size_bytes), ""),
                ("validation", held.validation, words.TONE.get(held.validation, "")),
            ]
        )
    ]
    if validation:
        results = [
            (
                pill("passed" if r.passed else "failed", None if r.passed or r.expectation.blocking else "warn"),
                str(r.expectation),
                r.observed,
                number(r.failing),
                "blocks" if r.expectation.blocking else "warns",
            )
            for r in validation.results
        ]
        blocks.append(Table(("", "expectation", "observed", "failing rows", "if broken"), results, "Validation"))
    blocks.append(
        Table(
            ("column", "type", "shape", "nulls", "distinct", "least", "median", "most", "top value"),
            [_column(c) for c in columns],
            "Profile",
        )
    )
    figures = [
        histogram(f"{c.name}", [float(e) for e in c.histogram.edges], list(c.histogram.counts), x_label=c.name)
        for c in columns
        if c.histogram and not c.constant
    ]
    blocks.append(Charts(figures[:_FIGURES], "Distributions" if figures else ""))
    if not columns:
        blocks.append(Table(("column", "type", "nullable"), [(c.name, c.dtype, c.nullable) for c in held.schema], "Schema"))
    blocks += [
        _about(held),
        Table(("file", "size", "digest"), [(f.path, words.size(f.size_bytes), words.digest(f.digest)) for f in held.files[:200]], "Files"),
    ]
    head = f"{name}:{held.number} holds {number(held.rows)} rows in {words.many(len(held.schema), 'column')}; {held.validation}."
    return Page(
        "Dataset version",
        head,
        blocks,
        f"rung data show {name} --number {held.number}",
        {"version": held, "profile": profile, "validation": validation},
    )


def _about(held: DatasetVersion) -> Facts:
    made = words.joined([link(str(ref), "datasets", ref.dataset, ref.number) for ref in held.derived_from])
    facts = [
        ("digest", words.digest(held.digest)),
        ("format", held.format),
        ("time column", held.time_column or MISSING),
        ("source", held.source or MISSING),
        ("note", held.note or MISSING),
        ("made from", made),
        ("added", when(held.created_at)),
        ("by", held.created_by),
        ("lineage", link("what came from it", "lineage", "dataset_version", f"{held.dataset}:{held.number}")),
    ]
    return Facts(facts, "About this version")


def diff(visit: Visit) -> Page:
    """What a version changed against the one before it."""
    name, which = visit.path["dataset"], visit.number("number")
    held = visit.ask(DiffVersions(dataset=name, after=which, before=visit.number("before")))
    moved = [(s.column, s.statistic, number(s.before), number(s.after), number(s.shift)) for s in held.statistics]
    columns = [("added", c.name, c.dtype) for c in held.added_columns] + [("removed", c.name, c.dtype) for c in held.removed_columns]
    columns += [("type changed", t.column, f"{t.before} → {t.after}") for t in held.changed_types]
    shifts = sorted(
        ((s.column, abs(s.shift)) for s in held.statistics if s.shift is not None and s.statistic == "mean"), key=lambda pair: -pair[1]
    )
    figures = [bar_chart("How far the means moved", shifts[:15], label="standard deviations of the older version")] if shifts else []
    blocks = [
        Table(("", "column", "type"), columns, "Columns" if columns else ""),
        Charts(figures),
        Table(("column", "statistic", "before", "after", "shift (sd)"), moved, "Statistics" if moved else ""),
    ]
    head = (
        f"{name}:{held.after} is the same as version {held.before}."
        if held.same
        else f"{name} went from {number(held.rows_before)} to {number(held.rows_after)} rows between versions {held.before} and {held.after}; {words.many(len(columns), 'column')} changed."
    )
    return Page("Diff", head, blocks, f"rung data diff {name} {held.before} {held.after}", {"diff": held})


def features(visit: Visit) -> Page:
    """Every feature view."""
    held = visit.ask(ListViews()).items
    if not held:
        return Page(
            "Features",
            "No feature view is declared yet.",
            [
                Empty(
                    "A feature view turns a dataset into features of an entity, joined as of each label's time.", "rung feature list", _VIEW
                )
            ],
            "rung feature list",
            {"views": ()},
        )
    rows = [
        (
            link(v.view.name, "features", v.view.name),
            ", ".join(v.view.entity),
            link(v.view.dataset, "datasets", v.view.dataset),
            len(v.view.features),
            v.view.effective_mode,
            _ttl(v.view.ttl_s),
            v.number,
        )
        for v in held
    ]
    count = sum(len(v.view.features) for v in held)
    return Page(
        "Features",
        f"{words.many(len(held), 'view')} offer {words.many(count, 'feature')}.",
        [Table(("view", "entity", "dataset", "features", "mode", "valid for", "definition"), rows)],
        "rung feature list",
        {"views": held},
    )


def feature(visit: Visit) -> Page:
    """One feature view."""
    held = visit.ask(GetView(name=visit.path["view"]))
    view = held.view
    facts = [
        ("dataset", link(view.dataset, "datasets", view.dataset)),
        ("entity", ", ".join(view.entity)),
        ("time column", view.time_column),
        ("known since", view.created_column or MISSING),
    ]
    facts += [
        ("mode", view.effective_mode),
        ("valid for", _ttl(view.ttl_s)),
        ("digest", words.digest(held.digest)),
        ("applied", when(held.applied_at)),
        ("by", held.applied_by),
    ]
    rows = [(f.name, f.source, f.aggregate or "as it is", f"{f.window_s / 3600:g} h" if f.window_s else MISSING) for f in view.features]
    blocks = [
        Words(view.description),
        Facts([*facts, ("lineage", link("what came from it", "lineage", "feature_view", view.name))]),
        Table(("feature", "column", "computed", "window"), rows, "Features"),
    ]
    return Page(
        "Feature view",
        f"{view.name} offers {words.many(len(view.features), 'feature')} of {', '.join(view.entity)}.",
        blocks,
        f"rung feature show {view.name}",
        {"view": held},
    )


def _column(c: ColumnProfile) -> tuple[object, ...]:
    middle = next((q.value for q in c.quantiles if q.share == 0.5), None)  # noqa: PLR2004 - the median
    shape = tiny_histogram(c.histogram.counts, f"histogram of {c.name}") if c.histogram else ""
    top = f"{str(c.top[0].value)[:16]} ({c.top[0].count:,})" if c.top else MISSING
    nulls = words.share(c.nulls / c.count) if c.count else MISSING
    least, most = (c.earliest[:16], (c.latest or "")[:16]) if c.earliest else (number(c.minimum), number(c.maximum))
    return c.name, c.dtype, shape, nulls, number(c.distinct), least, number(middle), most, top


def _ttl(seconds: float | None) -> str:
    return "for ever" if seconds is None else f"{seconds / 3600:g} h"
