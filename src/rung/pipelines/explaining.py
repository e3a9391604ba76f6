"""Why a step ran: what differs between the parts of its key and those of an earlier result, by name; and why a plan is not known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from rung.pipelines.records import Change, ChangedPart, PipelineInfo

_MOST = 100
_SHOWN = 5
_LONG = 120
_MAPPED: tuple[tuple[str, ChangedPart], ...] = (
    ("params", "parameter"), ("inputs", "input"), ("files", "file"), ("variables", "variable"),
)  # fmt: skip


def changes(now: Mapping[str, Any], before: Mapping[str, Any], details: Mapping[str, Any]) -> tuple[Change, ...]:
    """What differs, code first; at most a hundred.

    Args:
        now: the parts of the key; one without ``inputs`` is of a step whose inputs are not known yet.
        before: the parts of the earlier result's key.
        details: what digests in both stand for, as far as it is known.
    """
    found: list[Change] = []
    if now.get("code") != before.get("code"):
        found += _code(details.get(str(now.get("code"))), details.get(str(before.get("code"))), now, before)
    for part, name in _MAPPED:
        if part == "inputs" and part not in now:
            continue
        found += _mapped(name, _told(now.get(part)), _told(before.get(part)))
    if now.get("environment") != before.get("environment"):
        found += _environment(details.get(str(now.get("environment"))) or {}, details.get(str(before.get("environment"))) or {})
    found += _one("seed", now, before)
    found += _one("salt", now, before)
    return tuple(found[:_MOST])


def reason_of(found: Iterable[Change], *, earlier: bool = True, old_s: float | None = None) -> str:
    """Why a step ran, in one line.

    Args:
        found: what differs from the result it was compared with.
        earlier: whether there was one.
        old_s: how many seconds it may be old, where one that equals it is older.
    """
    if old_s is not None:
        return f"its result is older than {old_s:g} s"
    if not earlier:
        return "it has no earlier result"
    told = [_sentence(change) for change in found]
    if not told:
        return "its result was not kept"
    more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return "; ".join(told[:_SHOWN]) + more


def fresh(kept_at: datetime | None, ttl_s: float | None, now: datetime) -> bool:
    """Whether a result is young enough to be used."""
    return ttl_s is None or kept_at is None or now - kept_at < timedelta(seconds=ttl_s)


def likest(now: Mapping[str, Any], earlier: Iterable[Any]) -> Any:
    """Of earlier entries, newest first, the one with most parts equal; None of none."""
    best, most = None, -1
    for entry in earlier:
        equal = sum(entry.parts.get(name) == value for name, value in now.items())
        if equal > most:
            best, most = entry, equal
    return best


def _sentence(change: Change) -> str:
    if change.part == "code":
        verb = "is new" if not change.before else "is no longer used" if not change.after else "changed"
        literal = ":" in change.name and change.before and change.after and _DIGITS not in {len(change.before), len(change.after)}
        name = f"code {change.name}" if ":" in change.name else change.name
        return f"{change.name} changed from {change.before} to {change.after}" if literal else f"{name} {verb}"
    if change.part in {"seed", "salt", "python", "environment"}:
        name = {"python": "Python", "environment": "the lock"}.get(change.part, change.part)
        return f"{name} changed from {change.before or 'none'} to {change.after or 'none'}"
    if change.part == "library":
        return f"{change.name} {change.before or 'none'} → {change.after or 'none'}"
    if change.part in {"input", "file", "variable"}:
        return f"{change.part} {change.name} {'changed' if change.before and change.after else 'is new' if change.after else 'has gone'}"
    return f"parameter {change.name} changed from {change.before or 'none'} to {change.after or 'none'}"


_DIGITS = 12


def _code(now: Any, before: Any, parts: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[Change]:
    if now is None or before is None:
        return [Change(part="code", name="its code", before=_digits(earlier.get("code")), after=_digits(parts.get("code")))]
    found = _mapped("code", _units(now), _units(before))
    return found or [
        Change(part="code", name="a value its code uses", before=_digits(earlier.get("code")), after=_digits(parts.get("code")))
    ]


def _units(detail: Mapping[str, Any]) -> dict[str, str]:
    return {name: _digits(value) if str(value).startswith("blake3:") else _cut(value) for name, value in detail.get("units", {}).items()}


def _environment(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[Change]:
    found = []
    if now.get("python") != before.get("python"):
        found.append(Change(part="python", name="python", before=str(before.get("python") or ""), after=str(now.get("python") or "")))
    found += _mapped("library", _versions(now), _versions(before))
    if not found:
        found.append(Change(part="environment", name="lock", before=_digits(before.get("lock")), after=_digits(now.get("lock"))))
    return found


def _versions(detail: Mapping[str, Any]) -> dict[str, str]:
    return {name: _cut(version) or "installed" for name, version in (detail.get("libraries") or {}).items()}


def _mapped(part: ChangedPart, now: Mapping[str, str], before: Mapping[str, str]) -> list[Change]:
    return [
        Change(part=part, name=name[:_LONG], before=before.get(name, ""), after=now.get(name, ""))
        for name in sorted({*now, *before})
        if now.get(name) != before.get(name)
    ]


def _one(part: ChangedPart, now: Mapping[str, Any], before: Mapping[str, Any]) -> list[Change]:
    one, other = now.get(part), before.get(part)
    return [] if one == other else [Change(part=part, name=part, before=_cut(other), after=_cut(one))]


def _told(values: Any) -> dict[str, str]:
    """Contents of arguments, or digests of files, as texts that differ where they differ."""
    return {name: _content(value) for name, value in (values or {}).items()}


def _content(value: Any) -> str:
    if isinstance(value, str):
        return _digits(value) if value.startswith("blake3:") else value[:_LONG]
    if isinstance(value, list) and len(value) > 3 and isinstance(value[3], str):  # noqa: PLR2004 - kind, digest, meta, text
        return _cut(value[3])
    if isinstance(value, list) and value and value[0] == "collection":
        return f"{value[1]} items {_digits(value[2])}"
    inner = value
    while isinstance(inner, list) and len(inner) and isinstance(inner[0], list):
        inner = inner[0]
    if isinstance(inner, list) and len(inner) > 1 and isinstance(inner[0], str) and isinstance(inner[1], str):
        rest = "" if inner is value or value == [[inner], []] else f" {_digits(_digest(value))}"
        return f"{inner[0]} {_digits(inner[1])}{rest}"
    return _digits(_digest(value))


def _digest(value: Any) -> str:
    from rung.core.digests import digest_of_value  # noqa: PLC0415 - rarely needed

    return digest_of_value(value)


def _digits(digest: Any) -> str:
    return str(digest or "").removeprefix("blake3:")[:_DIGITS]


def _cut(value: Any) -> str:
    text = str("" if value is None else value)
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def without_plan(info: PipelineInfo) -> str:
    """Why a pipeline's steps are not known before it runs."""
    wanted = ", ".join(spec.name for spec in info.params if spec.required)
    return (
        f"Its plan depends on what has no default: {wanted}. Each run shows its own."
        if wanted
        else "Its plan cannot be made: a run says why."
    )
