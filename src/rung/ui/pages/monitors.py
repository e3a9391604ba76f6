"""Monitoring: performance by window, drift feature by window, quality, label coverage; in event time."""

from __future__ import annotations

from rung.monitoring.records import ArmSlice, GetReport, ListMonitors, MonitorReport, WindowReport
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Page, Stats, Table, Visit, Words
from rung.ui.charts.grids import heat_map
from rung.ui.charts.line import Series, line_chart
from rung.ui.charts.svg import Figure
from rung.ui.words import MISSING, day, link, number, pill, share, when

_MOST_COLUMNS = 24
_ALERTS = 12


def monitors(visit: Visit) -> Page:
    """Every monitor with how its deployment is doing."""
    held = visit.ask(ListMonitors())
    if not held:
        return Page(
            "Monitoring",
            "Nothing is watched yet.",
            [
                Empty(
                    "A monitor is the standing question to one deployment: is it still right?",
                    "rung monitor add churn",
                    'client.monitoring.add("churn", window_days=7)',
                )
            ],
            "rung monitor list",
            {"monitors": ()},
        )
    rows, open_ones = [], 0
    for m in held:
        report = visit.find(GetReport(deployment=m.deployment))
        incidents = len(report.incidents) if report else 0
        open_ones += incidents > 0
        last = report.windows[-1] if report and report.windows else None
        rows.append(
            (
                link(m.deployment, "monitors", m.deployment),
                pill("open incident" if incidents else "no incident", "bad" if incidents else "ok"),
                f"{m.window_days} days",
                last.sentence if last else "no window yet",
                m.metric,
                when(last.end) if last else MISSING,
            )
        )
    head = f"{words.many(len(held), 'deployment')} watched; {open_ones} with an open incident."
    return Page(
        "Monitoring",
        head,
        [Table(("deployment", "state", "window", "last window", "metric", "up to"), rows)],
        "rung monitor list",
        {"monitors": held},
    )


def monitor(visit: Visit) -> Page:
    """How one deployment is doing."""
    name = visit.path["deployment"]
    report = visit.ask(GetReport(deployment=name))
    windows = report.windows
    if not windows:
        empty = Empty("No window is complete yet: predictions and time must pass, or the monitor must run.", f"rung monitor run {name}")
        return Page("Monitoring", f"{name} has no window yet.", [empty], f"rung monitor run {name}", {"report": report})
    last = windows[-1]
    stats = Stats(
        [
            ("windows", len(windows), ""),
            ("last window", f"{last.rows:,} rows", ""),
            ("labels of it", share(last.labelled_share), ""),
            ("open incidents", len(report.incidents), "bad" if report.incidents else "ok"),
        ]
    )
    faults = [
        (f"{day(w.start)} – {day(w.end)}", f.column, f.kind.replace("_", " "), share(f.share), share(f.reference_share), f.statement)
        for w in reversed(windows)
        for f in w.quality
    ]
    alerts = [
        (f"{day(a.start)} – {day(a.end)}", pill(a.rule, "bad"), a.message, link("incident", "incidents", a.incident))
        for a in report.alerts[: -_ALERTS - 1 : -1]
    ]
    rows = [_row(w) for w in reversed(windows)]
    slices = [(f"{day(w.start)} – {day(w.end)}", *_slice(part)) for w in reversed(windows) for part in w.slices]
    blocks = [
        stats,
        Charts([*_performance(windows), _coverage(windows)]),
        Charts([_drift(windows)] if any(w.drift for w in windows) else []),
        Table(
            ("window", "rule", "what", "incident"),
            alerts,
            "Newest alerts" if alerts else "",
            note=f"{len(report.alerts)} in all; each incident lists its own." if len(report.alerts) > _ALERTS else "",
        ),
        Table(
            ("window", "column", "fault", "share", "usual", "what"),
            faults[:100],
            "Data quality",
            note="" if faults else "No fault in any window.",
        ),
        Table(("window", "rows", "version", "drifted columns", "performance", "labels", "state"), rows, "Windows"),
        Table(
            ("window", "arm", "version", "rows", "labelled", "mean score", "performance", "own evaluation"),
            slices[:100],
            "Windows by arm" if slices else "",
        ),
        Words(link("The deployment", "deployments", name)),
    ]
    head = report.sentence or last.sentence or f"{name} was watched over {words.many(len(windows), 'window')}."
    return Page("Monitoring", head, blocks, f"rung monitor show {name}", {"report": report})


def state_of(report: MonitorReport | None) -> tuple[str, str]:
    """How a deployment is doing, in a word or two, and its tone."""
    if report is None or not report.windows:
        return "not watched yet", "muted"
    if report.incidents:
        return "incident open", "bad"
    drifted = [d.column for d in report.windows[-1].drift if d.verdict == "drifted"]
    return (f"{words.many(len(drifted), 'column')} drifted", "warn") if drifted else ("healthy", "ok")


def _performance(windows: tuple[WindowReport, ...]) -> list[Figure]:
    measured = [(w, w.performance) for w in windows if w.performance and w.performance.value is not None]
    if not measured:
        return []
    metric = measured[-1][1].metric
    points = tuple((w.end.timestamp(), p.value) for w, p in measured if p.value is not None)
    band = tuple((w.end.timestamp(), p.low, p.high) for w, p in measured if p.low is not None and p.high is not None)
    expected = tuple((w.end.timestamp(), p.reference) for w, p in measured if p.reference is not None)
    series = [Series("realised", points, band)] + ([Series("the model's own evaluation", expected, dashed=True)] if expected else [])
    changes, before = [], windows[0].version
    for w in windows:
        if w.version != before:
            changes.append((w.start.timestamp(), f"version {w.version}"))
            before = w.version
    immature = next((w.start.timestamp() for w in windows if not w.final), None)
    figure = line_chart(
        f"{metric} by window, with its 95 % interval", series, y_label=metric, time=True, annotations=changes, immature_from=immature
    )
    return [figure]


def _coverage(windows: tuple[WindowReport, ...]) -> Figure:
    points = tuple((w.end.timestamp(), w.labelled_share * 100) for w in windows)
    return line_chart(
        "Share of predictions whose label has arrived", [Series("labelled", points)], y_label="per cent", time=True, span=(0, 100)
    )


def _drift(windows: tuple[WindowReport, ...]) -> Figure:
    greatest: dict[str, float] = {}
    for w in windows:
        for d in w.drift:
            greatest[d.column] = max(greatest.get(d.column, 0.0), d.effect)
    columns = sorted(greatest, key=lambda column: -greatest[column])[:_MOST_COLUMNS]
    found = [{d.column: d for d in w.drift} for w in windows][-60:]
    values = [[held[c].effect if c in held else None for held in found] for c in columns]
    marked = [
        (r, c) for r, column in enumerate(columns) for c, held in enumerate(found) if column in held and held[column].verdict == "drifted"
    ]
    names = [w.start.strftime("%-d %b") for w in windows][-60:]
    return heat_map(
        "Drift of each column by window; a dot marks what the test calls drifted",
        columns,
        names,
        values,
        marked=marked,
        limits=(0.02, 0.05, 0.1, 0.2, 0.35, 0.5),
        label="the stronger the shade, the further from the reference (effect 0 to 1)",
    )


def _row(w: WindowReport) -> tuple[object, ...]:
    p = w.performance
    value = f"{p.metric} {number(p.value)}" if p and p.value is not None else MISSING
    drifted = ", ".join(d.column for d in w.drift if d.verdict == "drifted") or "none"
    return (
        f"{day(w.start)} – {day(w.end)}",
        f"{w.rows:,}",
        f"{w.model}:{w.version}" if w.model else MISSING,
        drifted,
        value,
        share(w.labelled_share),
        pill("final" if w.final else "waiting for labels", "ok" if w.final else "warn"),
    )


def _slice(part: ArmSlice) -> tuple[object, ...]:
    value = MISSING if part.value is None else f"{part.metric} {number(part.value)} ({number(part.low)} … {number(part.high)})"
    return (
        pill(part.arm), f"{part.model}:{part.version}", f"{part.rows:,}", f"{part.labelled:,}", number(part.mean_score), value,
        MISSING if part.reference is None else number(part.reference),
    )  # fmt: skip
