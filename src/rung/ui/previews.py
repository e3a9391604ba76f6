"""What of an artifact is shown on a page: text, a picture, the first rows of a table, a page in a frame of its own.

A preview reads at most the first part of a file. What a file says is never trusted: text is escaped, pictures and
pages come from ``/raw`` under a policy that takes every right from them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from markupsafe import Markup

from rung.ui.markdown import rendered

MOST_TEXT, MOST_PICTURE, MOST_TABLE = 256 << 10, 16 << 20, 256 << 20
ROWS, COLUMNS = 50, 40
_PICTURES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}
_PAGES = {".html", ".htm"}
_TABLES = {".csv", ".tsv", ".parquet"}
_CELL = 200


@dataclass(frozen=True)
class Preview:
    """What to show: a kind (text, markdown, picture, page, table, none), its content, and a note on what is left out."""

    kind: str
    content: Any = ""
    note: str = ""
    columns: tuple[str, ...] = ()


def raw_type(path: str) -> str:
    """The type under which a file is shown by itself; what may not be shown is bytes to be saved."""
    ending = PurePosixPath(path).suffix.lower()
    if ending in _PAGES:
        return "text/html; charset=utf-8"
    return _PICTURES.get(ending, "application/octet-stream")


def preview(path: str, size: int, file: Path) -> Preview:
    """The preview of a file of an artifact."""
    ending = PurePosixPath(path).suffix.lower()
    if ending in _PICTURES:
        return Preview("picture") if size <= MOST_PICTURE else Preview("none", note="The picture is too large to be shown here.")
    if ending in _PAGES:
        return Preview(
            "page", note="This page comes from a run. It is shown in a frame that can neither read this session nor load anything."
        )
    if ending == ".pdf":
        return Preview("none", note="PDF files are saved, not shown.")
    if ending in _TABLES:
        return _table(ending, size, file)
    with file.open("rb") as opened:
        head = opened.read(MOST_TEXT)
    return _text(ending, head, size)


def _text(ending: str, head: bytes, size: int) -> Preview:
    if b"\x00" in head[:8192]:
        return Preview("none", note="These are bytes, not text.")
    try:
        text = head.decode("utf-8") if size <= len(head) else head.decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return Preview("none", note="These are bytes, not text.")
    note = f"The first {len(head):,} of {size:,} bytes." if size > len(head) else ""
    if ending in {".md", ".markdown"}:
        return Preview("markdown", rendered(text), note)
    if ending == ".json" and not note:
        try:
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)[:MOST_TEXT]
        except (ValueError, RecursionError):
            note = "This is no JSON, whatever its name says."
    return Preview("text", text, note)


def _table(ending: str, size: int, file: Path) -> Preview:
    import polars as pl  # noqa: PLC0415 - half a second that pages without tables need not pay

    if ending != ".parquet":
        with file.open("rb") as opened:
            head = opened.read(MOST_TEXT)
        whole = head if len(head) == size else head[: head.rfind(b"\n") + 1] or head
    try:
        if ending == ".parquet":
            if size > MOST_TABLE:
                return Preview("none", note="The table is too large to be read for a page.")
            lazy = pl.scan_parquet(file)
            names = lazy.collect_schema().names()
            frame = lazy.select(names[:COLUMNS]).head(ROWS).collect()
            total = int(lazy.select(pl.len()).collect().item())
        else:
            separator = "\t" if ending == ".tsv" else ","
            frame = pl.read_csv(
                BytesIO(whole), n_rows=ROWS, separator=separator, infer_schema=False, truncate_ragged_lines=True, encoding="utf8-lossy"
            )
            names, total = frame.columns, -1
            frame = frame.select(names[:COLUMNS])
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        return Preview("none", note=f"This is no table that can be read: {str(error)[:200]}")
    rows = tuple(tuple(_cell(value) for value in row) for row in frame.iter_rows())
    of = f" of {total:,}" if total >= 0 else ""
    said = (
        [f"The first {len(rows)}{of} rows"]
        if total > len(rows) or (total < 0 and len(rows) == ROWS)
        else [f"{len(rows)} row{'' if len(rows) == 1 else 's'}"]
    )
    if len(names) > COLUMNS:
        said.append(f"the first {COLUMNS} of {len(names)} columns")
    return Preview("table", rows, ", ".join(said) + ".", tuple(frame.columns))


def _cell(value: object) -> str | Markup:
    if value is None:
        return Markup('<span class="muted">null</span>')
    text = str(value)
    return text if len(text) <= _CELL else text[:_CELL] + "…"
