"""The process that opens one pickle: confines itself, unpickles, and writes the model anew in a format that runs no code.

Run as ``python -I -B -m rung.registry.unpickler FOLDER``; nothing else imports it. Whatever the pickle does happens in
here, where there is no network, no other program, nothing to read but the libraries and the pickle, and nothing to
write but two files that are there already. Libraries are loaded after the locks: some start threads, which no lock would hold.
"""

from __future__ import annotations

import json
import pickle  # the one place: the process is confined before it is used
import sys
from pathlib import Path

from rung.core.errors import RungError
from rung.registry.isolation import confine

PICKLE, MADE, ANSWER = "model.pickle", "made", "answer.json"
_SECONDS = 120
_MEMORY = 8 << 30
_FILE = 2 << 30
_PLACES = ("/dev/null", "/dev/urandom", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/proc/self")


def main(folder: Path) -> int:
    """Write the model's file and ``answer.json``: its format, or why there is none."""
    answer: dict[str, object]
    answering = folder / ANSWER
    try:
        confine(
            [*_libraries(folder), *map(Path, _PLACES), folder / PICKLE], [answering, folder / MADE],
            seconds=_SECONDS, memory_bytes=_MEMORY, file_bytes=_FILE,
        )  # fmt: skip
    except RungError as error:
        answering.write_text(json.dumps({"error": error.message, "hint": error.hint}), encoding="utf-8")
        return 1
    try:
        from rung.registry.format import FORMATS, format_for  # noqa: PLC0415 - Polars starts threads

        model = pickle.loads((folder / PICKLE).read_bytes())  # noqa: S301 - confined by now
        name = "skops" if FORMATS.get("skops").accepts(model) else format_for(model)
        ((path, data),) = FORMATS.get(name).save(model).items()
        (folder / MADE).write_bytes(data)
        answer = {"format": name, "path": path}
    except Exception as error:  # a pickle may raise anything, and the answer tells it
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    answering.write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _libraries(folder: Path) -> list[Path]:
    """Where modules lie; not a place that holds the folder too, and so the platform's own files."""
    roots = [Path(root) / "lib" for root in (sys.prefix, sys.base_prefix)]
    found = [*roots, *(Path(path) for path in sys.path if path)]
    return [root for root in found if not folder.resolve().is_relative_to(root.resolve())]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
