"""Notebooks: a cell becomes a step. What it takes from earlier cells are its inputs, what later cells take from it its outputs.

The code is only read, never run. What cannot be told from the text is refused with a hint rather than guessed.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rung.core.errors import Invalid, NotFound
from rung.pipelines.names import Uses, bound_names, uses_of

_MAGIC = re.compile(r"^\s*(?:[%!]|\?)|\?\s*$|^\s*[\w, ]+=\s*[%!]")
_FROM_NOTEBOOKS = {"display": "Print it, or return it as an output.", "get_ipython": "Say it in plain Python."}


@dataclass(frozen=True)
class Cell:
    """A code cell: its place among the code cells from 1, its id, its tags, and the text of a markdown cell right before it."""

    number: int
    source: str
    id: str = ""
    tags: tuple[str, ...] = ()
    heading: str = ""


@dataclass(frozen=True)
class Definition:
    """What a name stood for when a cell began: an import, a function or class, a literal constant, or a value made by running."""

    kind: str
    node: ast.stmt | None
    cell: int
    text: str = ""
    value: Any = None


@dataclass
class Material:
    """What a step brings along to its module."""

    imports: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)


def read_notebook(path: Path) -> tuple[Cell, ...]:
    """The code cells of an ipynb file. Raises NotFound, Invalid."""
    if not path.is_file():
        raise NotFound(f"There is no notebook {path}.", code="pipelines.no_notebook", hint="Check the path.")
    try:
        held = json.loads(path.read_text("utf-8"))
        found = list(_cells(held["cells"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(
            f"{path} is no notebook: {type(error).__name__}: {error}.", code="pipelines.bad_notebook", hint="Save it as .ipynb, format 4."
        ) from None
    return tuple(found)


def find_cell(cells: Sequence[Cell], wanted: str) -> Cell:
    """A code cell by its number from 1, its id or one of its tags. Raises NotFound."""
    found = [cell for cell in cells if wanted in {str(cell.number), cell.id, *cell.tags}]
    if len(found) != 1:
        tags = ", ".join(tag for cell in cells for tag in cell.tags)
        raise NotFound(
            f"{'No' if not found else 'More than one'} code cell of the notebook is {wanted!r}.",
            code="pipelines.no_cell",
            hint=f"Code cells count from 1 to {len(cells)}" + (f"; tags: {tags}." if tags else "."),
        )
    return found[0]


def parsed(cell: Cell) -> ast.Module:
    """The syntax tree of a cell that becomes a step. Raises Invalid for magics, shell commands and faults, naming the line."""
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        for at, line in enumerate(cell.source.splitlines(), 1):
            if _MAGIC.search(line):
                raise _refused(
                    f"Line {at} of cell {cell.number} is for notebooks only: {line.strip()[:60]}",
                    "Take it out; what a command does, do in plain Python (subprocess, pathlib).",
                ) from None
        raise _refused(f"Line {error.lineno} of cell {cell.number} is no Python: {error.msg}", "Mend the cell.") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            raise _refused(f"Cell {cell.number} imports * from {node.module}", "Import by name.")
    for node in _own_nodes(tree):
        if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
            raise _refused(f"Cell {cell.number} awaits at its top level", "Put it into an async def and call asyncio.run(…).")
        if isinstance(node, (ast.Yield, ast.YieldFrom, ast.Return)):
            raise _refused(f"Cell {cell.number} has a {type(node).__name__.lower()} outside a function", "Take it out.")
    return tree


def tolerant(cell: Cell) -> ast.Module:
    """The syntax tree of any other cell: what only notebooks understand is left out; empty when nothing else is left."""
    if cell.source.lstrip().startswith("%%"):
        return ast.Module(body=[], type_ignores=[])
    for source in (
        cell.source,
        "\n".join(re.sub(r"\S.*", "pass", line) if _MAGIC.search(line) else line for line in cell.source.split("\n")),
    ):
        try:
            return ast.parse(source)
        except SyntaxError:
            continue
    return ast.Module(body=[], type_ignores=[])


def definitions_before(cells: Sequence[Cell], number: int) -> dict[str, Definition]:
    """What every name of earlier cells stood for when a cell began."""
    found: dict[str, Definition] = {}
    times: dict[str, int] = {}
    for cell in cells:
        if cell.number >= number:
            break
        tree = tolerant(cell)
        for statement in tree.body:
            for name in bound_names([statement]):
                times[name] = times.get(name, 0) + 1
                found[name] = _definition(name, statement, cell, times[name])
        for name in uses_of(tree.body).mutated:
            if name in found and found[name].kind == "constant":
                found[name] = Definition("value", None, cell.number)
    return found


def used_after(cells: Sequence[Cell], number: int) -> set[str]:
    """Names that later cells take before they make them anew."""
    taken: set[str] = set()
    made: set[str] = set()
    for cell in cells:
        if cell.number > number:
            uses = uses_of(tolerant(cell).body)
            taken |= uses.read - made
            made |= uses.made
    return taken


def brought(names: Sequence[str], known: dict[str, Definition], cell: Cell) -> Material:
    """Imports and definitions that names need, followed through the functions they name. Raises Invalid."""
    found = Material()
    waiting = [(name, "") for name in names]
    seen: set[str] = set()
    while waiting:
        name, by = waiting.pop(0)
        if name in seen or (name not in known and hasattr(builtins, name)):
            continue
        seen.add(name)
        definition = known.get(name)
        if definition is None:
            by_whom = f"Function {by!r}, which cell {cell.number} uses, needs" if by else f"Cell {cell.number} uses"
            hint = _FROM_NOTEBOOKS.get(name, "Define it in an earlier cell, or in the cell itself.")
            raise _refused(f"{by_whom} {name!r}, which no earlier cell defines", hint)
        if definition.kind == "import":
            found.imports[name] = definition.text
        elif definition.kind == "value":
            raise _refused(
                f"Function {by!r}, which cell {cell.number} uses, reads {name!r}, which cell {definition.cell} makes",
                f"Give {name} to {by} as a parameter.",
            )
        else:
            found.definitions[name] = definition.text
            assert definition.node is not None  # noqa: S101 - definitions other than values have one
            waiting += [(other, name) for other in sorted(uses_of([definition.node]).read) if other != name]
    return found


def free_names(uses: Uses, known: dict[str, Definition]) -> list[str]:
    """Names a cell takes from outside, in the order of their use."""
    return [name for name in uses.order if name in known or not hasattr(builtins, name)]


def _cells(held: list[dict[str, Any]]) -> Iterator[Cell]:
    number, heading = 0, ""
    for cell in held:
        source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        if cell["cell_type"] != "code":
            heading = source if cell["cell_type"] == "markdown" else ""
            continue
        number += 1
        tags = tuple(str(tag) for tag in cell.get("metadata", {}).get("tags", ()))
        yield Cell(number=number, source=source, id=str(cell.get("id", "")), tags=tags, heading=heading)
        heading = ""


def _definition(name: str, statement: ast.stmt, cell: Cell, times: int) -> Definition:
    text = ast.get_source_segment(cell.source, statement) or ast.unparse(statement)
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return Definition("import", statement, cell.number, import_line(statement, name))
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        decorators = "".join(f"@{ast.unparse(decorator)}\n" for decorator in statement.decorator_list)
        return Definition("definition", statement, cell.number, decorators + text)
    if times == 1 and isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        try:
            value = ast.literal_eval(statement.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            value = ...
        if value is not ... and len(targets) == 1 and isinstance(targets[0], ast.Name):
            return Definition("constant", statement, cell.number, text, value)
    return Definition("value", None, cell.number)


def import_line(statement: ast.Import | ast.ImportFrom, name: str) -> str:
    """The import of one name alone."""
    for alias in statement.names:
        bound = alias.asname or alias.name.partition(".")[0]
        if bound == name:
            one = ast.Import([alias]) if isinstance(statement, ast.Import) else ast.ImportFrom(statement.module, [alias], statement.level)
            return ast.unparse(one)
    return ast.unparse(statement)


def _own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a cell outside of the functions and classes it defines."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        yield node
        yield from _own_nodes(node)


def _refused(message: str, hint: str) -> Invalid:
    return Invalid(f"{message}.", code="pipelines.not_promotable", hint=hint)
