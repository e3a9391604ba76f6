"""What a piece of code speaks of: globals, attributes taken from them, imports inside it, and what it makes at run time."""

from __future__ import annotations

import ast
import dis
import types
from collections.abc import Iterator
from typing import Any

import msgspec

from rung.pipelines.fingerprint.sources import FunctionNode, make_room, own_decorators

Chain = tuple[str, ...]
_WRITERS = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "clear", "remove", "discard", "appendleft"}
_SPACES = {"globals", "vars"}
_MAKERS = {"exec", "eval", "compile"}
_IMPORTERS = {"import_module", "__import__"}
_NAMERS = {"find_spec", "get_data", "files"}  # which look into a package that they name in a string


class Import(msgspec.Struct, frozen=True):
    """One import inside a function: ``name`` None takes the module itself, known as ``alias`` from then on."""

    module: str
    level: int
    name: str | None
    alias: str


class Spoken(msgspec.Struct):
    """The names a piece of code uses from around itself.

    ``chains`` has, for each name, the attributes taken from it, None among them where it is used bare. ``written`` are
    names whose values the code itself changes. ``texts`` is code that it runs from literal strings; ``dynamic`` names
    what it does that only running it tells.
    """

    names: set[str] = msgspec.field(default_factory=set)
    chains: dict[str, set[Chain | None]] = msgspec.field(default_factory=dict)
    imports: list[Import] = msgspec.field(default_factory=list)
    written: set[str] = msgspec.field(default_factory=set)
    texts: list[str] = msgspec.field(default_factory=list)
    dynamic: list[str] = msgspec.field(default_factory=list)
    own_module: bool = False


_held: dict[int, tuple[Any, Spoken]] = {}


def spoken_by(code: types.CodeType, node: FunctionNode | None, space: dict[str, Any]) -> Spoken:
    """What a function speaks of; ``node`` is its tree, where it has one."""
    held = _held.get(id(code))
    if held is None or held[0] is not code:
        make_room(_held)
        held = _held[id(code)] = (code, _of_function(code, node, space))
    return held[1]


def _of_function(code: types.CodeType, node: FunctionNode | None, space: dict[str, Any]) -> Spoken:
    spoken = Spoken()
    _read_code(code, spoken)
    if node is None:
        if spoken.names & _MAKERS:
            spoken.dynamic.append("exec")
        if spoken.names & _IMPORTERS:
            spoken.dynamic.append("import_module")
        spoken.own_module = bool(spoken.names & _SPACES)
        return spoken
    spoken.chains = chains_in(node)
    spoken.imports = list(imports_in(node))
    annotations = list(_annotations(node))
    for outer in (*own_decorators(node, space), *_defaults(node), *annotations):
        spoken.names |= {inner.id for inner in ast.walk(outer) if isinstance(inner, ast.Name)}
    for annotation in annotations:
        spoken.names |= _in_texts(annotation)
    read_calls(node, spoken)
    return spoken


def of_class(node: ast.ClassDef, space: dict[str, Any]) -> Spoken:
    """What the body of a class speaks of, without undecorated methods, which speak for themselves."""
    spoken = Spoken()
    for tree in _class_level(node, space):
        spoken.names |= {inner.id for inner in ast.walk(tree) if isinstance(inner, ast.Name)}
        for name, chains in chains_in(tree).items():
            spoken.chains.setdefault(name, set()).update(chains)
        spoken.imports += imports_in(tree)
        read_calls(tree, spoken)
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign):
            spoken.names |= _in_texts(inner.annotation)
    return spoken


def _class_level(node: ast.ClassDef, space: dict[str, Any]) -> Iterator[ast.AST]:
    yield from (*own_decorators(node, space), *node.bases, *node.keywords)
    for inner in node.body:
        if isinstance(inner, ast.ClassDef):
            yield from _class_level(inner, space)
        elif isinstance(inner, FunctionNode) and not inner.decorator_list:
            yield from (*_defaults(inner), *_annotations(inner))
        else:
            yield inner


def imports_in(tree: ast.AST) -> Iterator[Import]:
    """Imports anywhere in a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, 0, None, alias.asname or alias.name.partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import(node.module or "", node.level, alias.name, alias.asname or alias.name)


def type_checking_imports(tree: ast.Module) -> dict[str, Import]:
    """Names that a module imports for type checkers only."""
    found: dict[str, Import] = {}
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            found |= {item.alias: item for part in node.body for item in imports_in(part) if item.alias}
    return found


def chains_in(tree: ast.AST) -> dict[str, set[Chain | None]]:
    """For each name, the attribute chains taken from it; None where it is used bare."""
    found: dict[str, set[Chain | None]] = {}
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inside:
            parts, root = [node.attr], node.value
            while isinstance(root, ast.Attribute):
                parts.append(root.attr)
                inside.add(id(root))
                root = root.value
            if isinstance(root, ast.Name):
                found.setdefault(root.id, set()).add(tuple(reversed(parts)))
                inside.add(id(root))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in inside:
            found.setdefault(node.id, set()).add(None)
    return found


def read_calls(tree: ast.AST, spoken: Spoken) -> None:
    """Enter what code writes to, runs from text, and imports by a name in a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            spoken.written |= set(node.names)
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Delete)):
            for target in node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [node.target]:
                if isinstance(target, (ast.Subscript, ast.Attribute)) and isinstance(target.value, ast.Name):
                    spoken.written.add(target.value.id)
        elif isinstance(node, ast.Call):
            _read_call(node, spoken)


def _read_call(node: ast.Call, spoken: Spoken) -> None:
    called = node.func
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.attr in _WRITERS:
        spoken.written.add(called.value.id)
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    first = node.args[0] if node.args else None
    text = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
    if name in _IMPORTERS:
        if text is None:
            spoken.dynamic.append("import_module")
        else:
            spoken.imports.append(Import(text.lstrip("."), len(text) - len(text.lstrip(".")), None, ""))
    elif name in _NAMERS:
        if text and all(part.isidentifier() for part in text.split(".")):
            spoken.imports.append(Import(text, 0, None, ""))
    elif not isinstance(called, ast.Name):
        return
    elif name in _MAKERS:
        if text is None:
            spoken.dynamic.append(name)
        else:
            spoken.texts.append(text)
    elif name in _SPACES and not node.args:
        spoken.own_module = True


def _defaults(node: FunctionNode) -> Iterator[ast.AST]:
    yield from (default for default in [*node.args.defaults, *node.args.kw_defaults] if default is not None)


def _annotations(node: FunctionNode) -> Iterator[ast.AST]:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    yield from (argument.annotation for argument in every if argument is not None and argument.annotation is not None)
    if node.returns is not None:
        yield node.returns


def _in_texts(annotation: ast.AST) -> set[str]:
    """Names in annotations that are written as strings."""
    found: set[str] = set()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                found |= {inner.id for inner in ast.walk(ast.parse(node.value, mode="eval")) if isinstance(inner, ast.Name)}
            except SyntaxError:
                continue
    return found


def _read_code(code: types.CodeType, spoken: Spoken) -> None:
    """Globals and imports of a code object and of those inside it."""
    before: list[Any] = [None, None]
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name.startswith("LOAD_") and ("GLOBAL" in name or name in {"LOAD_NAME", "LOAD_FROM_DICT_OR_DEREF"}):
            spoken.names.add(instruction.argval)
        elif name in {"STORE_GLOBAL", "DELETE_GLOBAL"}:
            spoken.written.add(instruction.argval)
        elif name == "IMPORT_NAME":
            level, wanted = before
            level = level if isinstance(level, int) else 0
            if wanted:
                spoken.imports += [Import(instruction.argval, level, item, item) for item in wanted]
            else:
                spoken.imports.append(Import(instruction.argval, level, None, ""))
        before = [before[1], instruction.argval]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _read_code(constant, spoken)
