"""The report of a reproduction as people read it."""

from __future__ import annotations

from rung.pipelines.reproducing import Reproduction

_VERDICTS = {
    "identical": "IDENTICAL: every output has the same bytes.",
    "equivalent": "EQUIVALENT: the bytes differ, every value is within its tolerance.",
    "different": "DIFFERENT.",
}
_NETWORKS = {
    "kernel": "closed by the kernel: nothing the steps started could reach another machine",
    "guard": "closed by a guard: Python code was refused every connection; native code and other programs were not held back",
    "open": "open, as was asked",
}


def text_of(found: Reproduction) -> str:
    """Verdict first, then where it diverges, what has changed since, every output, the metrics and the notes."""
    lines = [
        f"Reproduction of {found.pipeline}:{found.number} ({found.pipeline_run})", "",
        _VERDICTS[found.likeness] + (f" First diverging step: {found.first_diverging_step}." if found.first_diverging_step else ""),
        *(["", f"Because {because(found)}"] if found.likeness != "identical" else []), "",
        f"repeated as  {found.repeated_as}", f"at           {found.created_at.isoformat(timespec='seconds')} by {found.created_by}",
        f"tolerance    {found.tolerance:g} relative, where a step declares none", f"network      {_NETWORKS[found.network]}",
        f"libraries    {'built anew from the lock' if found.rebuilt else 'those found here'}",
    ]  # fmt: skip
    if found.changes:
        lines += [
            "",
            "Changed since the run was made" + (", likeliest cause first:" if found.likeness != "identical" else ", without effect:"),
        ]
        lines += [
            f"  {change.kind:<9} {change.subject}: was {change.was}, is {change.now}. {change.detail}".rstrip() for change in found.changes
        ]
    elif found.likeness != "identical":
        lines += ["", "Nothing that was recorded has changed: the steps themselves are not repeatable (time, chance without seed, order)."]
    if found.comparisons:
        lines += ["", "Outputs"]
        for one in found.comparisons:
            where = f"{one.step}.{one.output}" + (f"[{one.item}]" if one.item is not None else "")
            lines.append(f"  {one.likeness:<11} {where}: {one.detail}")
            lines += [f"      {part.likeness:<11} {part.name}: {part.detail}" for part in one.parts if part.likeness != "identical"]
    if found.metrics:
        lines += ["", "Metrics"]
        lines += [f"  {one.likeness:<11} {one.metric}: was {_number(one.original)}, is {_number(one.repeated)}" for one in found.metrics]
    if found.not_repeated:
        lines += ["", f"Not repeated, being run for their side effects: {', '.join(found.not_repeated)}"]
    if found.notes:
        lines += ["", "Notes", *(f"  {note}" for note in found.notes)]
    return "\n".join(lines) + "\n"


def because(found: Reproduction) -> str:
    """What decided a verdict that is not identical: the first such output, else the first such metric, else that it failed."""
    for one in found.comparisons:
        if one.likeness == found.likeness:
            where = f"{one.step}.{one.output}" if one.output else one.step
            return f"{where}{'' if one.item is None else f'[{one.item}]'}: {one.detail}"
    for metric in found.metrics:
        if metric.likeness == found.likeness:
            return f"metric {metric.metric} was {_number(metric.original)}, is {_number(metric.repeated)}"
    return next((note for note in reversed(found.notes)), "nothing could be compared")


def _number(value: float | None) -> str:
    return "not logged" if value is None else f"{value:.17g}"
