"""The process that opens one pickle: confines itself, unpickles, and writes the model anew in a format that runs no code.

Run as ``python -I -m rung.registry.unpickler FOLDER``; nothing else imports it. Whatever the pickle does happens in
here, where there is no network, no other program and no file but the libraries and the folder.
"""

from __future__ import annotations

import json
import pickle  # the one place: the process is confined before it is used
import sys
from pathlib import Path

from rung.core.errors import RungError
from rung.registry.format import FORMATS, format_for
from rung.registry.isolation import confine
from rung.registry.unpickling import ANSWER, PICKLE

_SECONDS = 120
_MEMORY = 8 << 30
_FILE = 2 << 30


def main(folder: Path) -> int:
    """Write the model's files and ``answer.json``: its format, or why there is none."""
    import skops.io  # noqa: F401, PLC0415 - before the locks: most of what the model needs is then there

    answer: dict[str, object]
    try:
        libraries = [Path(sys.prefix), Path(sys.base_prefix), *(Path(path) for path in sys.path if path)]
        devices = [Path("/dev/null"), Path("/dev/urandom"), Path("/lib"), Path("/lib64"), Path("/usr/lib"), Path("/etc/ld.so.cache")]
        confine([*libraries, *devices], [folder], seconds=_SECONDS, memory_bytes=_MEMORY, file_bytes=_FILE)
    except RungError as error:
        _tell(folder, {"error": str(error)})
        return 1
    try:
        model = pickle.loads((folder / PICKLE).read_bytes())  # noqa: S301 - confined by now
        name = "skops" if FORMATS.get("skops").accepts(model) else format_for(model)
        for path, data in FORMATS.get(name).save(model).items():
            (folder / path).write_bytes(data)
        answer = {"format": name}
    except Exception as error:  # a pickle may raise anything, and the answer tells it
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    _tell(folder, answer)
    return 0


def _tell(folder: Path, answer: dict[str, object]) -> None:
    (folder / ANSWER).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
