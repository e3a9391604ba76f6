"""Artifacts on a page: the tree of an owner's files, a preview of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from rung.app.local import LocalTransport
from rung.core.errors import NotFound
from rung.tracking.records import Artifact
from rung.ui import words
from rung.ui.blocks import Part, Visit
from rung.ui.previews import preview

_MOST_LINES = 500


def files_part(visit: Visit, artifacts: Sequence[Artifact], base: str, title: str = "Artifacts", first: str = "") -> Part | None:
    """The tree with the file that the address names shown beside it; None without files. Raises NotFound for another file."""
    if not artifacts:
        return None
    chosen = visit.query.get("file") or next((item.path for item in artifacts if item.path == first), "") or _first(artifacts)
    held = next((item for item in artifacts if item.path == chosen), None)
    if held is None and visit.query.get("file"):
        raise NotFound(f"There is no artifact {chosen!r} here.", code="tracking.no_artifact", hint="Choose one of the list.")
    values = {
        "lines": _tree(artifacts, chosen, base),
        "left_out": max(0, len(artifacts) - _MOST_LINES),
        "file": None,
        "total": words.size(sum(a.size_bytes for a in artifacts)),
    }
    if held is not None:
        local = file_of(visit, held)
        shown = preview(held.path, held.size_bytes, local) if local else None
        values |= {
            "file": held, "preview": shown, "size": words.size(held.size_bytes), "when": words.when(held.created_at), "digest": words.digest(held.digest),
            "raw": words.address("raw", held.owner) + "/" + "/".join(words.address(part)[1:] for part in held.path.split("/")),
        }  # fmt: skip
    return Part("files.html", values, title)


def file_of(visit: Visit, artifact: Artifact) -> Path | None:
    """The file that holds an artifact's bytes, where the blobs are files of this machine and the visitor may read them."""
    if not isinstance(visit.transport, LocalTransport):
        return None
    visit.transport.allow("blob:read")
    place = visit.transport.platform.blobs.url(artifact.digest)
    return Path(urlsplit(place).path if "://" in place else place)


def _first(artifacts: Sequence[Artifact]) -> str:
    """What is worth seeing first: a read-me, a picture, a text; nothing where no name speaks for itself."""
    for ending in ("README.md", ".md", ".png", ".svg", "metrics.json", ".json", ".txt", "MLmodel"):
        for item in artifacts:
            if item.path.endswith(ending):
                return item.path
    return ""


def _tree(artifacts: Sequence[Artifact], chosen: str, base: str) -> list[dict[str, object]]:
    """Folders and files as lines, each with its depth."""
    lines: list[dict[str, object]] = []
    seen: set[str] = set()
    for item in sorted(artifacts, key=lambda item: item.path)[:_MOST_LINES]:
        parts = item.path.split("/")
        for depth in range(len(parts) - 1):
            folder = "/".join(parts[: depth + 1])
            if folder not in seen:
                seen.add(folder)
                lines.append({"name": parts[depth] + "/", "depth": min(depth, 8), "href": "", "size": "", "chosen": False})
        href = f"{base}?{words.query(file=item.path)}#artifacts"
        line = {
            "name": parts[-1],
            "depth": min(len(parts) - 1, 8),
            "href": href,
            "size": words.size(item.size_bytes),
            "chosen": item.path == chosen,
        }
        lines.append(line)
    return lines
