"""``%load_ext rung`` in a notebook: ``%%step NAME [OUTPUT …] [--to MODULE]`` runs a cell and shows the step it makes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rung.core.errors import Invalid
from rung.pipelines.names import bound_names
from rung.pipelines.notebooks import Cell, parsed
from rung.pipelines.promoting import Promoted, added, promoted

_USAGE = "%%step NAME [OUTPUT …] [--to MODULE]"


def load_ipython_extension(shell: Any) -> None:
    """Teach a notebook the magic ``%%step``."""

    def step(line: str, cell: str) -> None:
        taught(shell, line, cell)

    shell.register_magic_function(step, "cell", "step")


def taught(shell: Any, line: str, cell: str) -> Promoted:
    """Run a cell as always and make a step of it: the cells run before it are what it takes its inputs from.

    Without outputs named, all that it makes are. Raises Invalid for what cannot be promoted, before anything is run.
    """
    words = line.split()
    module = words[words.index("--to") + 1] if "--to" in words[:-1] else ""
    names = [word for word in words if word not in {"--to", module}]
    if not names:
        raise Invalid("%%step needs a name.", code="pipelines.bad_name", hint=f"Write {_USAGE}.")
    # as typed: what the shell makes of a magic says no more what its cell was
    earlier = [_plain(text) for text in shell.history_manager.input_hist_raw[1:-1]]
    this = Cell(number=len(earlier) + 1, source=cell.strip("\n"))
    outputs = names[1:] or bound_names(parsed(this).body)
    cells = [*(Cell(number=number, source=text) for number, text in enumerate(earlier, 1)), this, Cell(this.number + 1, "\n".join(outputs))]
    found = promoted(cells, this, names[0])
    if module:
        target = Path(module)
        target.write_text(added(target.read_text("utf-8") if target.is_file() else "", found), "utf-8")
    shell.run_cell(cell)
    sys.stdout.write(f"Added to {module}. In a pipeline: {found.call}\n" if module else found.module)
    return found


def _plain(text: str) -> str:
    """A cell as it was before it was made a step."""
    return text.partition("\n")[2] if text.startswith("%%step") else text
