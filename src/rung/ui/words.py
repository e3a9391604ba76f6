"""How values read on a page: numbers, money, instants, links and states. Everything returned is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from math import isfinite
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

_TONES = {
    "ok": "succeeded passed pass stable ok closed final healthy champion yes reproduced identical true live ready fired promoted",
    "warn": "warned running scheduled pending pruned queued waiting diagnosed decided canary shadow attested manual insufficient open wait unchecked equivalent dry not_met held_back paused growing",
    "bad": "failed fail denied cancelled drifted rollback lost timed_out different broken no rolled_back aborted",
    "accent": "cached",
}
TONE = {word: tone for tone, words in _TONES.items() for word in words.split()}
_ICON = {"ok": "✓", "warn": "●", "bad": "✕", "muted": "○", "accent": "◆"}
_KIB = 1024.0
_QUOTED = re.compile(r"(`+)(.+?)\1", re.DOTALL)
MISSING = "–"
HELD_OUT = ("val", "test", "eval", "dev")  # what names of metrics measured on held-out data have in them
_WHOLE, _CENT = 100, 0.01  # from a hundred on, cents are noise


def pill(word: object, tone: str | None = None) -> Markup:
    """A state as icon, word and colour."""
    said = str(word).replace("_", " ")
    chosen = tone or TONE.get(str(word), "muted")
    return Markup('<span class="pill {}"><span aria-hidden="true">{}</span> {}</span>').format(chosen, _ICON[chosen], said)


def link(words: object, *path: object) -> Markup:
    """A link to a page; the parts of its address are quoted."""
    return Markup('<a href="{}">{}</a>').format(address(*path), words)


def address(*path: object) -> str:
    """The address of a page from its parts."""
    return "/" + "/".join(quote(str(part), safe="") for part in path)


def number(value: float | None, digits: int = 4) -> str:
    """A number with thousands separators; a dash where there is none."""
    if value is None or not isfinite(value):
        return MISSING
    if isinstance(value, int) or abs(value) >= 1000:  # noqa: PLR2004 - from a thousand on, decimals are noise
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def money(value: float | None, currency: str = "") -> str:
    """An amount of money, without cents from a hundred on."""
    if value is None:
        return MISSING
    value = 0.0 if abs(value) < _CENT / 2 else value
    amount = "0" if value == 0 else f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:,.2f}"
    return f"{amount} {currency}".replace("-", "−").strip()


def share(value: float | None) -> str:
    """A share in per cent."""
    return MISSING if value is None else f"{value * 100:.1f}\u00a0%"


def size(value: float) -> str:
    """Bytes in the unit that suits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _KIB or unit == "GiB":
            break
        value /= _KIB
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def when(instant: datetime | None) -> Markup:
    """An instant in UTC."""
    if instant is None:
        return escape(MISSING)
    return Markup('<time datetime="{}">{}</time>').format(instant.isoformat(), instant.strftime("%Y-%m-%d %H:%M"))


def day(instant: datetime | None) -> str:
    """The day of an instant."""
    return MISSING if instant is None else instant.strftime("%Y-%m-%d")


def took(start: datetime | None, end: datetime | None) -> str:
    """How long something took."""
    if start is None or end is None:
        return MISSING
    seconds = (end - start).total_seconds()
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.1f}\u00a0s"
    return f"{seconds / 60:.1f}\u00a0min" if seconds < 7200 else f"{seconds / 3600:.1f}\u00a0h"  # noqa: PLR2004 - two hours


def lasted(seconds: float) -> str:
    """A stretch of time in the unit that suits."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}\u00a0ms"
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.1f}\u00a0s"
    return f"{seconds / 60:.1f}\u00a0min" if seconds < 7200 else f"{seconds / 3600:.1f}\u00a0h"  # noqa: PLR2004 - two hours


def prose(docstring: str) -> Markup:
    """Words of a docstring: what stands between backticks is code."""
    parts, at = [], 0
    for found in _QUOTED.finditer(docstring):
        parts += [escape(docstring[at : found.start()]), code(found[2])]
        at = found.end()
    return Markup("").join([*parts, escape(docstring[at:])])


def code(text: str) -> Markup:
    """A text to be copied letter by letter."""
    return Markup("<code>{}</code>").format(text)


def hover(shown: str, whole: str) -> Markup:
    """Words with more to say on hover."""
    return Markup('<span title="{}">{}</span>').format(whole[:2000], shown)


def digest(value: str) -> Markup:
    """The start of a digest or commit, whole on hover."""
    if not value:
        return escape(MISSING)
    return Markup('<code title="{}">{}</code>').format(value, value.removeprefix("blake3:")[:12])


def many(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def joined(parts: Sequence[object], between: str = " ") -> Markup:
    """Parts in one cell."""
    return escape(between).join(escape(part) for part in parts) if parts else escape(MISSING)


def plain(value: object) -> str:
    """A param as people write it: texts as they are, all else as JSON has it."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def query(**parts: object) -> str:
    """The query of an address from its parts, empty ones left out."""
    return urlencode([(name, str(value)) for name, value in parts.items() if value not in {"", None}])


def query_of(pairs: Sequence[tuple[str, object]]) -> str:
    """The query of an address from pairs, names may come twice; empty ones left out."""
    return urlencode([(name, str(value)) for name, value in pairs if value not in {"", None}])
