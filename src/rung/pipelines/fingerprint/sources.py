"""Where code comes from: whether it is the project's own, and the syntax tree it was compiled from.

A tree stands for a function only if compiling it gives the very code that is loaded. A file that was edited after it
was imported, and a function that was made in another way, are known by their bytecode instead.
"""

from __future__ import annotations

import ast
import linecache
import sys
import sysconfig
import types
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import msgspec

from rung.core.digests import digest_of, digest_of_file

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
_INSTALLED = tuple(
    sorted({str(Path(p)) + "/" for name in ("stdlib", "platstdlib", "purelib", "platlib") if (p := sysconfig.get_paths().get(name))})
)
_RUNG = str(Path(__file__).parents[2]) + "/"
_EXTENSIONS = tuple(EXTENSION_SUFFIXES)
_WITH_DOCSTRING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
_DECORATED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_UNTOLD = {"type_comment", "kind", "type_ignores"}  # what says nothing about what is done


class Source(msgspec.Struct, frozen=True):
    """A file or notebook cell: its tree and every code object that compiling it makes, by qualified name."""

    tree: ast.Module
    codes: dict[str, tuple[types.CodeType, ...]]
    nodes: dict[tuple[str, int], FunctionNode]


_sources: dict[str, tuple[Any, Source | None]] = {}
_nodes: dict[int, tuple[types.CodeType, FunctionNode | None]] = {}
_MOST_HELD = 50_000  # a worker that imports a project over and over must not hold every state of it
_classes: dict[int, tuple[type, Source, ast.ClassDef | None]] = {}
_binaries: dict[str, tuple[Any, str]] = {}


def is_project(file: str | None, module: str | None) -> bool:
    """Whether code is the project's own: neither Python's, nor an installed package's, nor Rung's.

    Code without a file (a notebook, ``exec``) belongs to the module it ran in; in none, it is the project's.
    """
    if not file:
        return module == "__main__"
    if file.startswith("<"):
        if file.startswith("<frozen") or (module or "").partition(".")[0] == "rung":
            return False
        held = getattr(sys.modules.get(module or ""), "__file__", None)
        return held is None or module == "__main__" or not _is_installed(held)
    return not _is_installed(file)


def is_project_module(module: types.ModuleType) -> bool:
    """Whether a module is the project's own; a namespace package is where one of its folders is."""
    if file := getattr(module, "__file__", None):
        return is_project(file, module.__name__)
    return module.__name__ == "__main__" or any(not _is_installed(str(place) + "/") for place in getattr(module, "__path__", ()))


def is_project_class(kind: type) -> bool:
    """Whether a class is the project's own, by the module that defines it."""
    held = sys.modules.get(kind.__module__)
    return kind.__module__ == "__main__" or (held is not None and is_project_module(held))


def is_binary(file: str | None) -> bool:
    """Whether a module is a compiled extension."""
    return bool(file) and str(file).endswith(_EXTENSIONS)


def binary_digest(file: str) -> str:
    """The digest of a compiled extension's bytes."""
    stat = Path(file).stat()
    mark = (stat.st_mtime_ns, stat.st_size)
    held = _binaries.get(file)
    if held is None or held[0] != mark:
        held = _binaries[file] = (mark, digest_of_file(Path(file))[0])
    return held[1]


def function_node(code: types.CodeType) -> FunctionNode | None:
    """The tree that a function's code was compiled from; None where no source makes this very code."""
    held = _nodes.get(id(code))
    if held is None or held[0] is not code:
        make_room(_nodes)
        held = _nodes[id(code)] = (code, _matching(code))
    return held[1]


def make_room(held: dict[Any, Any], most: int = _MOST_HELD) -> None:
    """Empty a memory that has grown too large."""
    if len(held) >= most:
        held.clear()


def _matching(code: types.CodeType) -> FunctionNode | None:
    source = source_of(code.co_filename)
    if source is None:
        return None
    alike = [found for found in source.codes.get(code.co_qualname, ()) if same_code(found, code)]
    alike.sort(key=lambda found: found.co_firstlineno != code.co_firstlineno)
    return next((node for found in alike if (node := source.nodes.get((found.co_name, found.co_firstlineno)))), None)


def class_node(kind: type) -> ast.ClassDef | None:
    """The tree of a class in the file of its module; None when it has none there, such as one made by a call."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    source = source_of(file) if file and not is_binary(file) else _cell_of(kind)
    if source is None:
        return None
    held = _classes.get(id(kind))
    if held is None or held[0] is not kind or held[1] is not source:
        make_room(_classes)
        held = _classes[id(kind)] = (kind, source, _class_in(source.tree, kind))
    return held[2]


def _class_in(tree: ast.Module, kind: type) -> ast.ClassDef | None:
    place: ast.AST = tree
    for part in [part for part in kind.__qualname__.split(".") if part != "<locals>"]:
        found = [n for n in ast.walk(place) if isinstance(n, (ast.ClassDef, ast.FunctionDef)) and n.name == part and n is not place]
        if not found:
            return None
        place = found[-1] if len(found) == 1 else _nearest(found, kind)
    return place if isinstance(place, ast.ClassDef) else None


def _nearest(found: list[ast.ClassDef | ast.FunctionDef], kind: type) -> ast.AST:
    """Of several definitions of one name the one whose methods are loaded; the last if none can be told."""
    lines = {f.__code__.co_firstlineno for f in vars(kind).values() if isinstance(f, types.FunctionType)}
    inside = [node for node in found if any(node.lineno <= line <= (node.end_lineno or line) for line in lines)]
    return (inside or found)[-1]


def _cell_of(kind: type) -> Source | None:
    """The notebook cell that defined a class, by its methods."""
    methods = [f for f in vars(kind).values() if isinstance(f, types.FunctionType) and f.__qualname__.startswith(kind.__qualname__ + ".")]
    return source_of(methods[0].__code__.co_filename) if methods else None


def source_of(file: str) -> Source | None:
    """The source of a file or a notebook's cell as it is now; None when there is none or it does not compile."""
    try:
        stat = Path(file).stat()
        mark: Any = (stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError):
        mark = len(linecache.getlines(file))
    held = _sources.get(file)
    if held is None or held[0] != mark:
        held = _sources[file] = (mark, _read(file, on_disk=isinstance(mark, tuple)))
    return held[1]


def _read(file: str, *, on_disk: bool) -> Source | None:
    try:
        text: bytes | str = Path(file).read_bytes() if on_disk else "".join(linecache.getlines(file))
        if not text:
            return None
        tree = ast.parse(text)
        compiled = compile(text, file, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return None
    codes: dict[str, tuple[types.CodeType, ...]] = {}
    waiting = [compiled]
    while waiting:
        inner = [c for c in waiting.pop().co_consts if isinstance(c, types.CodeType)]
        for code in inner:
            codes[code.co_qualname] = (*codes.get(code.co_qualname, ()), code)
        waiting += inner
    nodes = {}
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            nodes[node.name, min([node.lineno, *(d.lineno for d in node.decorator_list)])] = node
    return Source(tree, codes, nodes)


def same_code(one: types.CodeType, other: types.CodeType) -> bool:
    """Whether two code objects do the same; where their lines stand does not matter."""
    return one is other or (one.co_code == other.co_code and plain_code(one) == plain_code(other))


def plain_code(code: types.CodeType, docstring: str | None = None) -> list[Any]:
    """Instructions, constants and names of a code object; of two that do the same they are equal, in every process."""
    constants = [_plain_constant(None if docstring is not None and c == docstring else c) for c in code.co_consts]
    names = [list(names) for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)]
    return [code.co_code.hex(), constants, names, code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount]


def _plain_constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return plain_code(value)
    if isinstance(value, frozenset):
        return ["frozenset", *sorted(repr(_plain_constant(item)) for item in value)]
    if isinstance(value, tuple):
        return ["tuple", *(_plain_constant(item) for item in value)]
    return [type(value).__name__, repr(value)]


def dumped(tree: ast.AST, space: dict[str, Any]) -> str:
    """The digest of a tree without docstrings, positions and Rung's own decorators."""
    return digest_of(_told(tree, space).encode("utf-8", "surrogatepass"))


def _told(value: Any, space: dict[str, Any]) -> str:
    if isinstance(value, ast.AST):
        parts = []
        for name in value._fields:
            if name in _UNTOLD:
                continue
            held: Any = getattr(value, name, None)
            if name == "body" and isinstance(value, _WITH_DOCSTRING):
                held = held[1:] if _has_docstring(value) else held
            elif name == "decorator_list" and isinstance(value, _DECORATED):
                held = own_decorators(value, space)
            if held is not None and held != []:
                parts.append(f"{name}={_told(held, space)}")
        return f"{type(value).__name__}({','.join(parts)})"
    if isinstance(value, list):
        return f"[{','.join(_told(item, space) for item in value)}]"
    return f"{type(value).__name__}:{value!r}"


def own_decorators(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, space: dict[str, Any]) -> list[ast.expr]:
    """A definition's decorators without those of Rung, which decide only how a step is run."""
    return [decorator for decorator in node.decorator_list if not _is_rungs(decorator, space)]


def _has_docstring(node: Any) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _is_rungs(decorator: ast.expr, space: dict[str, Any]) -> bool:
    root: ast.AST = decorator.func if isinstance(decorator, ast.Call) else decorator
    while isinstance(root, ast.Attribute):
        root = root.value
    held = space.get(root.id) if isinstance(root, ast.Name) else None
    module = getattr(held, "__name__", "") if isinstance(held, types.ModuleType) else getattr(held, "__module__", "")
    return str(module or "").partition(".")[0] == "rung"


def place_of(file: str | None, module: str | None) -> str:
    """A file as people know it: by its path below the folder that its module is imported from."""
    if not file:
        return module or "?"
    if file.startswith("<") or module in {None, "__main__", "builtins"}:
        return Path(file).name
    path = Path(file)
    depth = module.count(".") + (2 if path.name == "__init__.py" else 1) if module else 1
    return "/".join(path.parts[-depth:])


@lru_cache(maxsize=8192)
def _is_installed(file: str) -> bool:
    return file.startswith((*_INSTALLED, _RUNG)) or "site-packages/" in file or "dist-packages/" in file
