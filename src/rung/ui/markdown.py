"""Markdown as safe HTML: headings, paragraphs, lists, quotes, code, emphasis, links to the web. HTML in it stays text."""

from __future__ import annotations

import re
from collections.abc import Callable

from markupsafe import Markup, escape

_INLINE = re.compile(
    r"(`+)(?P<code>.+?)\1|\*\*(?P<strong>.+?)\*\*|(?<!\w)[*_](?P<em>[^*_]+)[*_](?!\w)|\[(?P<words>[^\]]*)\]\((?P<href>[^)\s]+)\)"
)
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_ITEM = re.compile(r"\s*(?:[-*+]|(\d+)[.)])\s+(.*)")
_MOST_LINES = 5000


def rendered(text: str) -> Markup:
    """The HTML of a Markdown text; every character of the text is escaped, and links lead to http(s) only."""
    lines = text.replace("\r\n", "\n").split("\n")[:_MOST_LINES]
    parts: list[Markup] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.lstrip().startswith("```"):
            end = next((n for n in range(at + 1, len(lines)) if lines[n].lstrip().startswith("```")), len(lines))
            parts.append(Markup("<pre>{}</pre>").format("\n".join(lines[at + 1 : end])))
            at = end + 1
        elif not line.strip():
            at += 1
        elif found := _HEADING.match(line):
            level = min(6, len(found[1]) + 2)  # below the headings of the page
            parts.append(Markup("<h{0}>{1}</h{0}>").format(level, _inline(found[2])))
            at += 1
        elif _ITEM.match(line):
            end = _while(lines, at, lambda text: _ITEM.match(text) is not None or (text.startswith("  ") and bool(text.strip())))
            parts.append(_list(lines[at:end]))
            at = end
        elif line.startswith(">"):
            end = _while(lines, at, lambda text: text.startswith(">"))
            parts.append(Markup("<blockquote>{}</blockquote>").format(_inline(" ".join(text[1:].strip() for text in lines[at:end]))))
            at = end
        elif line.strip().startswith("|"):
            end = _while(lines, at, lambda text: text.strip().startswith("|"))
            parts.append(_table(lines[at:end]))
            at = end
        else:
            end = _while(lines, at, lambda text: bool(text.strip()) and not _starts(text))
            end = max(end, at + 1)
            parts.append(Markup("<p>{}</p>").format(_inline(" ".join(lines[at:end]))))
            at = end
    return Markup("\n").join(parts)


def first_line(text: str, most: int = 120) -> str:
    """The first line that says something, without its marks, for a list."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    plain = re.sub(r"[*_`]+|^\s*[#>|-]+\s*|\[([^\]]*)\]\([^)]*\)", lambda found: found[1] or "", line).strip()
    return plain if len(plain) <= most else plain[:most] + "…"


def _while(lines: list[str], at: int, holds: Callable[[str], bool]) -> int:
    while at < len(lines) and holds(lines[at]):
        at += 1
    return at


def _starts(line: str) -> bool:
    return bool(_HEADING.match(line) or _ITEM.match(line)) or line.startswith(">") or line.lstrip().startswith(("```", "|"))


def _list(lines: list[str]) -> Markup:
    items: list[str] = []
    numbered = bool((_ITEM.match(lines[0]) or [None, None])[1])
    for line in lines:
        found = _ITEM.match(line)
        if found:
            items.append(found[2])
        else:
            items[-1] += " " + line.strip()
    inside = Markup("").join(Markup("<li>{}</li>").format(_inline(item)) for item in items)
    return Markup("<ol>{}</ol>").format(inside) if numbered else Markup("<ul>{}</ul>").format(inside)


def _table(lines: list[str]) -> Markup:
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    rows = [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    head, *body = rows or [[]]
    top = Markup("").join(Markup("<th>{}</th>").format(_inline(cell)) for cell in head)
    below = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(_inline(cell)) for cell in row)) for row in body
    )
    return Markup('<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(top, below)


def _inline(text: str) -> Markup:
    parts, at = [], 0
    for found in _INLINE.finditer(text):
        parts.append(escape(text[at : found.start()]))
        at = found.end()
        if found["code"] is not None:
            parts.append(Markup("<code>{}</code>").format(found["code"]))
        elif found["strong"] is not None:
            parts.append(Markup("<strong>{}</strong>").format(found["strong"]))
        elif found["em"] is not None:
            parts.append(Markup("<em>{}</em>").format(found["em"]))
        elif found["href"].lower().startswith(("http://", "https://")):
            parts.append(
                Markup('<a href="{}" rel="noopener noreferrer nofollow">{}</a>').format(found["href"], found["words"] or found["href"])
            )
        else:
            parts.append(escape(found["words"]))
    return Markup("").join([*parts, escape(text[at:])])
