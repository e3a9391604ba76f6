"""Promotion: the text of a step made of a notebook's cell, and of the module that takes it up."""

from __future__ import annotations

import ast
import io
import keyword
import sys
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass

from rung.core.errors import AlreadyExists, Invalid
from rung.core.records import Record
from rung.pipelines.names import Uses, bound_names, uses_of
from rung.pipelines.notebooks import Cell, Definition, brought, definitions_before, free_names, import_line, parsed, used_after

_LONGEST_LINE = 120
_SHORT = (int, float, str, bool)


class Promoted(Record):
    """A step made of a cell: its code, what it brings along, and how a pipeline calls it."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    imports: tuple[str, ...]
    definitions: tuple[str, ...]
    source: str
    call: str

    @property
    def module(self) -> str:
        """The text of a module that holds nothing else."""
        return added("", self)


@dataclass(frozen=True)
class _Parts:
    """A cell taken apart: what goes to the top of the module, and what is left to run."""

    imports: list[ast.Import | ast.ImportFrom]
    definitions: list[ast.stmt]
    body: list[ast.stmt]


def promoted(cells: Sequence[Cell], cell: Cell, name: str) -> Promoted:
    """The step that a cell makes. Raises Invalid for what cannot be told from the text, with a hint."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise Invalid(f"{name!r} cannot name a step.", code="pipelines.bad_name", hint="Use a name that Python takes: --name train.")
    parts = _apart(parsed(cell), cell)
    known = definitions_before(cells, cell.number)
    uses = uses_of(parts.body)
    own = {bound for statement in (*parts.imports, *parts.definitions) for bound in bound_names([statement])}
    free = [found for found in free_names(uses, known) if found not in own]
    changed = uses.bound | uses.mutated
    inputs = [found for found in free if found in known and _is_input(known[found], changed=found in changed)]
    needed = [found for found in free if found not in inputs]
    if again := sorted(uses.bound & set(needed) & set(known)):
        raise Invalid(
            f"Cell {cell.number} gives {again[0]!r} another meaning after it used it.",
            code="pipelines.not_promotable", hint="Choose another name for what it makes.",
        )  # fmt: skip
    needed += sorted({other for statement in parts.definitions for other in uses_of([statement]).read} - own - set(needed))
    carried = brought(needed, known, cell)
    later = used_after(cells, cell.number)
    inner = {
        found for statement in parts.body for found in bound_names([statement]) if isinstance(statement, (ast.FunctionDef, ast.ClassDef))
    }
    if wanted := sorted(inner & later):
        raise Invalid(
            f"Later cells call {wanted[0]!r}, which cell {cell.number} defines with values of its own.",
            code="pipelines.not_promotable", hint=f"Move the definition of {wanted[0]} to a cell of its own, and give it what it needs.",
        )  # fmt: skip
    outputs = [found for found in _made(uses, inputs) if found in later]
    imports = [
        *carried.imports.values(),
        *(import_line(statement, bound) for statement in parts.imports for bound in bound_names([statement])),
    ]
    definitions = [*carried.definitions.values(), *(_text(statement, cell) for statement in parts.definitions)]
    given = [found for found in inputs if found not in carried.definitions]
    return Promoted(
        name=name, inputs=tuple(given), outputs=tuple(outputs), imports=tuple(sorted(set(imports))), definitions=tuple(dict.fromkeys(definitions)),
        source=_source(cell, name, parts, given, outputs, known), call=_call(name, given, outputs, known),
    )  # fmt: skip


def added(module: str, step: Promoted) -> str:
    """The text of a module with the step at its end, its imports at the top. Raises AlreadyExists, Invalid."""
    try:
        tree = ast.parse(module)
    except SyntaxError as error:
        raise Invalid(
            f"The module cannot be read: line {error.lineno}: {error.msg}.", code="pipelines.broken_module", hint="Mend it."
        ) from None
    held = {name: statement for statement in tree.body for name in bound_names([statement])}
    if step.name in held:
        raise AlreadyExists(f"The module has a {step.name!r} already.", code="pipelines.step_exists", hint="Choose another --name.")
    fresh = [text for text in step.definitions if not _is_there(text, held)]
    typed = ["from typing import Any"] if "Any" in step.source else []
    imports = [line for line in (*step.imports, "from rung import step", *typed) if not _is_there(line, held)]
    lines = module.rstrip("\n").split("\n") if module.strip() else []
    at = max((statement.end_lineno or 0 for statement in tree.body if isinstance(statement, (ast.Import, ast.ImportFrom))), default=0)
    if at == 0 and tree.body and ast.get_docstring(tree):
        at = tree.body[0].end_lineno or 0
    top = [line for line in _imports(imports) if line or not at]
    if at and top and not isinstance(tree.body[0], (ast.Import, ast.ImportFrom)) and at == (tree.body[0].end_lineno or 0):
        top = ["", *top]
    text = "\n".join([*lines[:at], *top, *lines[at:]]).strip("\n")
    blocks = [text, *fresh, step.source]
    made = "\n\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n"
    compile(made, "<module>", "exec", dont_inherit=True)
    return made


def _apart(tree: ast.Module, cell: Cell) -> _Parts:
    imports: list[ast.Import | ast.ImportFrom] = []
    definitions: list[ast.stmt] = []
    body: list[ast.stmt] = []
    local = set(bound_names([s for s in tree.body if not isinstance(s, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))]))
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            imports.append(statement)
        elif isinstance(statement, (ast.FunctionDef, ast.ClassDef)) and not uses_of([statement]).read & local:
            definitions.append(statement)
        else:
            body.append(statement)
    if not body:
        raise Invalid(
            f"Cell {cell.number} only imports and defines: there is nothing to run.",
            code="pipelines.not_promotable",
            hint="Promote the cell that uses it; what it needs is brought along.",
        )
    return _Parts(imports, definitions, body)


def _is_input(definition: Definition, *, changed: bool) -> bool:
    """A value, or a number or text, which becomes a default; a longer constant goes to the module, unless the cell changes it."""
    return definition.kind == "value" or (definition.kind == "constant" and (changed or isinstance(definition.value, _SHORT)))


def _made(uses: Uses, inputs: Sequence[str]) -> list[str]:
    """Names that a cell makes or changes, in a stable order."""
    return sorted(uses.bound | (uses.mutated & set(inputs)))


def _source(cell: Cell, name: str, parts: _Parts, inputs: Sequence[str], outputs: Sequence[str], known: dict[str, Definition]) -> str:
    arguments = [_parameter(found, known[found]) for found in sorted(inputs, key=lambda found: "=" in _parameter(found, known[found]))]
    returns = "None" if not outputs else "Any" if len(outputs) == 1 else f"tuple[{', '.join('Any' for _ in outputs)}]"
    head = f"def {name}({', '.join(arguments)}) -> {returns}:"
    if len(head) > _LONGEST_LINE:
        head = f"def {name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f") -> {returns}:"
    doc = next((line.strip("# *_").strip() for line in cell.heading.splitlines() if line.strip("# *_").strip()), "")
    doc = doc.replace("\\", "").replace('"', "'") or f"Cell {cell.number} of the notebook."
    lines = ["@step", *head.split("\n"), f'    """{doc if doc.endswith((".", "!", "?")) else doc + "."}"""', *_body(cell, parts.body)]
    if outputs:
        lines.append(f"    return {', '.join(outputs)}")
    return "\n".join(lines)


def _parameter(name: str, definition: Definition) -> str:
    if definition.kind != "constant" or not isinstance(definition.value, _SHORT):
        return f"{name}: Any"
    return f"{name}: {type(definition.value).__name__} = {definition.value!r}"


def _call(name: str, inputs: Sequence[str], outputs: Sequence[str], known: dict[str, Definition]) -> str:
    given = [found for found in inputs if "=" not in _parameter(found, known[found])]
    return (f"{', '.join(outputs)} = " if outputs else "") + f"{name}({', '.join(given)})"


def _body(cell: Cell, body: Sequence[ast.stmt]) -> list[str]:
    """The cell's own lines below the function's head, with their comments; what lies within a text keeps its place."""
    lines = cell.source.split("\n")
    taken = {at for statement in ast.parse(cell.source).body if not _is_among(statement, body) for at in _lines_of(statement)}
    inside = _inside_texts(cell.source)
    found = [line if at in inside or not line.strip() else f"    {line.rstrip()}" for at, line in enumerate(lines, 1) if at not in taken]
    while found and not found[0].strip():
        found.pop(0)
    while found and not found[-1].strip():
        found.pop()
    return found


def _is_among(statement: ast.stmt, body: Sequence[ast.stmt]) -> bool:
    return any(ast.dump(statement) == ast.dump(other) for other in body)


def _lines_of(statement: ast.stmt) -> range:
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])
    return range(first, (statement.end_lineno or first) + 1)


def _inside_texts(source: str) -> set[int]:
    """Lines that begin inside of a text."""
    found: set[int] = set()
    starts: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING":
            found |= set(range(token.start[0] + 1, token.end[0] + 1))
        elif kind == "FSTRING_START":
            starts.append(token.start[0])
        elif kind == "FSTRING_END" and starts:
            found |= set(range(starts.pop() + 1, token.end[0] + 1))
    return found


def _text(statement: ast.stmt, cell: Cell) -> str:
    lines = cell.source.split("\n")
    held = _lines_of(statement)
    return "\n".join(line.rstrip() for line in lines[held.start - 1 : held.stop - 1])


def _is_there(text: str, held: dict[str, ast.stmt]) -> bool:
    """Whether a module has a definition or an import already. Raises AlreadyExists when it has another one of that name."""
    statement = ast.parse(text).body[0]
    for name in bound_names([statement]):
        if name not in held:
            return False
        other = held[name]
        if isinstance(statement, (ast.Import, ast.ImportFrom)) and isinstance(other, (ast.Import, ast.ImportFrom)):
            same = import_line(statement, name) == import_line(other, name)
        else:
            same = ast.dump(statement) == ast.dump(other)
        if not same:
            raise AlreadyExists(
                f"The module has another {name!r} already.",
                code="pipelines.other_definition",
                hint=f"Rename {name} in the notebook or there.",
            )
    return True


def _imports(lines: Sequence[str]) -> list[str]:
    """Import lines: the standard library's first, plain ones before others, names of one module together."""
    together: dict[str, set[str]] = {}
    for line in lines:
        if line.startswith("from "):
            module, _, names = line.removeprefix("from ").partition(" import ")
            together.setdefault(module, set()).update(names.split(", "))
    merged = [line for line in lines if line.startswith("import ")]
    merged += [f"from {module} import {', '.join(sorted(names))}" for module, names in together.items()]
    groups: dict[bool, list[str]] = {True: [], False: []}
    for line in sorted(set(merged), key=lambda line: (line.startswith("from "), line)):
        groups[line.split()[1].partition(".")[0] in sys.stdlib_module_names].append(line)
    between = [""] if groups[True] and groups[False] else []
    return [*groups[True], *between, *groups[False]]
