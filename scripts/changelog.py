"""Changelog fragments: ``check`` their names, or ``collect VERSION DATE`` them into CHANGELOG.md."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "changelog.d"
KINDS = {"feature": "Added", "fix": "Fixed", "removal": "Removed"}


def fragments() -> dict[str, list[Path]]:
    """Fragments by kind; a name that says no kind is an error."""
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(FOLDER.glob("*.md")):
        kind = path.stem.rpartition(".")[2]
        if kind not in KINDS or not path.read_text("utf-8").strip():
            sys.exit(f"{path.name}: name it <slug>.<{'|'.join(KINDS)}>.md and say one thing in it.")
        found[kind].append(path)
    return found


def collect(version: str, date: str) -> None:
    """Move the fragments into a new section at the top of CHANGELOG.md."""
    lines = [f"## {version} ({date})", ""]
    for kind, paths in fragments().items():
        if paths:
            lines += [f"### {KINDS[kind]}", "", *(f"- {path.read_text('utf-8').strip()}" for path in paths), ""]
    log = ROOT / "CHANGELOG.md"
    head, marker, tail = log.read_text("utf-8").partition("<!-- newest first -->\n")
    log.write_text(head + marker + "\n" + "\n".join(lines) + tail, "utf-8")
    for paths in fragments().values():
        for path in paths:
            path.unlink()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["check"]:
            fragments()
        case ["collect", version, date]:
            collect(version, date)
        case _:
            sys.exit("usage: changelog.py check | collect VERSION DATE")
