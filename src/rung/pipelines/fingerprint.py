"""Fingerprints: a digest of a function and of every function, class, constant and module of the project it reaches.

Functions and classes enter by their syntax tree without comments, docstrings and positions; installed packages by
name and version; other values by canonical bytes. What cannot be told apart safely makes the fingerprint unsure, and
an unsure step is not cached.
"""

from __future__ import annotations

import ast
import builtins
import dis
import enum
import functools
import importlib
import importlib.util
import inspect
import logging
import re
import sys
import sysconfig
import textwrap
import threading
import types
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from rung.core.digests import digest_of, digest_of_value
from rung.core.errors import RungError
from rung.pipelines.authoring import Pipeline, Step
from rung.pipelines.materialisers import materialise

_INSTALLED = tuple(
    sorted({str(Path(p)) for name in ("stdlib", "platstdlib", "purelib", "platlib") if (p := sysconfig.get_paths().get(name))})
)
_RUNG = str(Path(__file__).parents[1])
_IGNORED = (logging.Logger, ContextVar, threading.local, types.GenericAlias)


@dataclass(frozen=True)
class Fingerprint:
    """The digest of a step's code; ``unsure`` names what could not be followed, and is empty for a cacheable step."""

    digest: str
    unsure: tuple[str, ...] = ()


_held: dict[int, tuple[Any, Fingerprint]] = {}
_lock = threading.RLock()


def fingerprint(function: Any) -> Fingerprint:
    """The fingerprint of a function; computed once a function object, before it first runs."""
    with _lock:
        held = _held.get(id(function))
        if held is None or held[0] is not function:
            walk = _Walk()
            held = (function, Fingerprint(digest=digest_of_value(walk.visit(function, "step")), unsure=tuple(walk.unsure)))
            _held[id(function)] = held
        return held[1]


@dataclass
class _Walk:
    """One fingerprint in the making: what has been met already, by number of meeting."""

    met: dict[int, int] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)

    def visit(self, value: Any, name: str) -> Any:
        """Plain parts that stand for a value."""
        if value is None or type(value) in {bool, int, float, str, bytes, complex}:
            return [type(value).__name__, repr(value)]
        if id(value) in self.met:
            return ["met", self.met[id(value)]]
        self.met[id(value)] = len(self.met)
        self.kept.append(value)  # an id is only good while its object lives
        return self._visit(value, name)

    def _visit(self, value: Any, name: str) -> Any:  # noqa: PLR0912 - a table of kinds reads best as one
        if isinstance(value, (Step, Pipeline)):
            return self.visit(value.function, name)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return ["method", self.visit(value.__func__, name), self.visit(value.__self__, name)]
        if isinstance(value, (staticmethod, classmethod)):
            return [type(value).__name__, self.visit(value.__func__, name)]
        if isinstance(value, property):
            return ["property", *(self.visit(part, name) for part in (value.fget, value.fset, value.fdel))]
        if isinstance(value, functools.partial):
            return ["partial", self.visit(value.func, name), self.visit(list(value.args), name), self.visit(value.keywords, name)]
        if isinstance(value, enum.Enum):
            return ["enum", self.visit(type(value), name), value.name]
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, (list, tuple)) and type(value) in {list, tuple}:
            return [type(value).__name__, *(self.visit(item, name) for item in value)]
        if type(value) is dict:
            pairs = [[self._lone(key, name), self.visit(item, name)] for key, item in sorted(value.items(), key=lambda pair: repr(pair[0]))]
            return ["dict", pairs]
        if type(value) in {set, frozenset}:
            return [type(value).__name__, *sorted(digest_of_value(self._lone(item, name)) for item in value)]
        if isinstance(value, re.Pattern):
            return ["pattern", repr(value.pattern), value.flags]
        if hasattr(value, "__wrapped__") and callable(value):
            return ["wrapped", type(value).__qualname__, self.visit(value.__wrapped__, name)]
        if isinstance(value, (*_IGNORED, types.BuiltinFunctionType)):
            return ["named", type(value).__name__, getattr(value, "__name__", getattr(value, "name", repr(value)))]
        return self._instance(value, name)

    def _lone(self, value: Any, name: str) -> Any:
        """Parts of a value that do not depend on what else has been met, for sorting."""
        inner = _Walk()
        parts = inner.visit(value, name)
        self.unsure += inner.unsure
        return parts

    def _function(self, function: types.FunctionType) -> Any:
        if not _is_project(function.__code__.co_filename, function.__module__):
            return ["installed", function.__module__, function.__qualname__, _package(function.__module__)]
        tree = _tree_of(function)
        parts: list[Any] = [
            "function",
            function.__qualname__,
            _dumped(tree, function.__globals__) if tree is not None else _bytecode(function.__code__),
        ]
        names = set(_globals_of(function.__code__))
        if tree is not None:
            names |= {node.id for outer in _outside_body(tree) for node in ast.walk(outer) if isinstance(node, ast.Name)}
        parts.append(self._names(names, tree, function.__globals__))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                parts.append([name, self.visit(cell.cell_contents, name)])
            except ValueError:
                parts.append([name, "empty"])
        if tree is None:
            parts.append(self.visit([function.__defaults__, function.__kwdefaults__], "defaults"))
        else:
            parts += self._imports(tree, function.__globals__.get("__package__"))
        return parts

    def _class(self, kind: type) -> Any:
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if not _is_project(file, kind.__module__):
            return ["installed", kind.__module__, kind.__qualname__, _package(kind.__module__)]
        parts: list[Any] = ["class", kind.__qualname__]
        tree, module = _class_tree(kind), sys.modules[kind.__module__]
        if tree is None:
            self.unsure.append(f"the source of class {kind.__qualname__}")
        else:
            parts.append(_dumped(tree, vars(module)))
            outside = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            parts.append(self._names(outside & set(vars(module)), tree, vars(module)))
            parts += self._imports(tree, getattr(module, "__package__", None))
        parts += [self.visit(base, base.__qualname__) for base in kind.__mro__[1:] if base is not object]
        return parts

    def _names(self, names: set[str], tree: ast.AST | None, space: dict[str, Any]) -> Any:
        """Parts of the globals that are used, each with its attributes where it is a module."""
        chains = _chains(tree) if tree is not None else {}
        found: list[Any] = []
        for name in sorted(names):
            if name not in space:
                if not hasattr(builtins, name):
                    found.append([name, "unknown"])
                continue
            value = space[name]
            if isinstance(value, types.ModuleType) and chains.get(name) and None not in chains[name]:
                found.append([name, [self._attribute(value, chain) for chain in sorted(c for c in chains[name] if c)]])
            else:
                found.append([name, self.visit(value, name)])
        return found

    def _attribute(self, module: types.ModuleType, chain: tuple[str, ...]) -> Any:
        """Parts of ``module.a.b``: of the first thing on the way that is not a module."""
        value: Any = module
        for part in chain:
            if not isinstance(value, types.ModuleType):
                break
            if not _is_project(getattr(value, "__file__", None), value.__name__):
                return ["installed", value.__name__, _package(value.__name__)]
            if not hasattr(value, part):
                return ["missing", ".".join(chain)]
            value = getattr(value, part)
        return [".".join(chain), self.visit(value, ".".join(chain))]

    def _module(self, module: types.ModuleType) -> Any:
        """A module used as a whole: everything in it counts."""
        file = getattr(module, "__file__", None)
        if not _is_project(file, module.__name__):
            return ["installed", module.__name__, _package(module.__name__)]
        tree = _module_tree(str(file))
        values = {k: v for k, v in vars(module).items() if not k.startswith("__")}
        return ["module", module.__name__, _dumped(tree, {}) if tree else "", [[k, self.visit(v, k)] for k, v in sorted(values.items())]]

    def _imports(self, tree: ast.AST, package: str | None) -> list[Any]:
        """Parts of what is imported inside a function."""
        found: list[Any] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [self._imported(alias.name, None, "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                found += [self._imported(module, alias.name, package or "") for alias in node.names]
        return found

    def _imported(self, module: str, name: str | None, package: str) -> Any:
        try:
            full = importlib.util.resolve_name(module, package) if module.startswith(".") else module
            spec = sys.modules[full].__spec__ if full in sys.modules else importlib.util.find_spec(full)
            if spec is None or not _is_project(spec.origin, full):
                return ["installed", full, _package(full)]
            held = importlib.import_module(full)
            if name is None or name == "*":
                return self.visit(held, full)
            value = getattr(held, name) if hasattr(held, name) else importlib.import_module(f"{full}.{name}")
            return [name, self.visit(value, name)]
        except (ImportError, ValueError, AttributeError) as error:
            return ["not importable", module, name, type(error).__name__]

    def _instance(self, value: Any, name: str) -> Any:
        """Parts of any other value: the code of its type, and its state."""
        kind = type(value)
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if _is_project(file, kind.__module__):
            state = dict(getattr(value, "__dict__", {}))
            slots = [slot for base in kind.__mro__ for slot in _as_tuple(getattr(base, "__slots__", ())) if hasattr(value, slot)]
            fields = getattr(kind, "__struct_fields__", ())
            state |= {slot: getattr(value, slot) for slot in [*slots, *fields] if slot != "__dict__"}
            return ["instance", self.visit(kind, name), self.visit(state, name)]
        try:
            member, payload = materialise(value, where=f"global {name!r}")
        except RungError:
            self.unsure.append(f"the global {name!r}, a {kind.__module__}.{kind.__qualname__}")
            return ["unsure", kind.__module__, kind.__qualname__]
        data = payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
        return ["value", member, digest_of(data), payload.meta]


def _is_project(file: str | None, module: str) -> bool:
    """Whether code is the project's own: neither Python's, nor an installed package's, nor Rung's."""
    if not file or file.startswith("<frozen") or module.partition(".")[0] in sys.stdlib_module_names:
        return bool(file) and module == "__main__"
    return not (file.startswith(_INSTALLED) or file.startswith(_RUNG) or "site-packages" in file or "dist-packages" in file)


@functools.lru_cache(maxsize=4096)
def _package(module: str) -> str:
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names or root == "rung":
        return root  # Python's version is in the environment's key; Rung decides only how a step is run
    try:
        return f"{root}=={version(root)}"
    except PackageNotFoundError:
        names = _distributions().get(root, [])
        return ",".join(f"{name}=={version(name)}" for name in sorted(set(names))) or root


@functools.lru_cache(maxsize=1)
def _distributions() -> Any:
    return packages_distributions()


_trees: dict[str, tuple[int, ast.Module | None]] = {}


def _module_tree(file: str) -> ast.Module | None:
    path = Path(file)
    if not path.is_file():
        return None
    mark = path.stat().st_mtime_ns
    held = _trees.get(file)
    if held is None or held[0] != mark:
        try:
            tree: ast.Module | None = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            tree = None
        held = _trees[file] = (mark, tree)
    return held[1]


def _tree_of(function: types.FunctionType) -> ast.AST | None:
    """The syntax tree of a function; None for one whose source is not in a file as it was compiled."""
    code = function.__code__
    tree = _module_tree(code.co_filename)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree) if tree else ():
        if (
            isinstance(node, kinds)
            and node.name == code.co_name
            and code.co_firstlineno in {node.lineno, *(d.lineno for d in node.decorator_list)}
        ):
            return node
    return None


def _class_tree(kind: type) -> ast.AST | None:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    tree = _module_tree(file) if file else None
    if tree is not None:
        place: ast.AST = tree
        for part in [part for part in kind.__qualname__.split(".") if part != "<locals>"]:
            found = [n for n in ast.walk(place) if isinstance(n, (ast.ClassDef, ast.FunctionDef)) and n.name == part]
            if not found:
                return None
            place = found[-1]
        return place
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return None


def _dumped(tree: ast.AST, space: dict[str, Any]) -> str:
    """A syntax tree as text, without docstrings, positions and Rung's own decorators."""

    class Strip(ast.NodeTransformer):
        def generic_visit(self, node: ast.AST) -> ast.AST:
            super().generic_visit(node)
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
                first = body[0]
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                    node.body = body[1:]
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                node.decorator_list = [d for d in node.decorator_list if not _is_rungs(d, space)]
            return node

    copied = ast.parse(ast.unparse(tree))
    return ast.dump(Strip().visit(copied), annotate_fields=False)


def _is_rungs(decorator: ast.expr, space: dict[str, Any]) -> bool:
    root: ast.AST = decorator.func if isinstance(decorator, ast.Call) else decorator
    while isinstance(root, ast.Attribute):
        root = root.value
    held = space.get(root.id) if isinstance(root, ast.Name) else None
    module = getattr(held, "__name__", "") if isinstance(held, types.ModuleType) else getattr(held, "__module__", "")
    return str(module or "").partition(".")[0] == "rung"


def _outside_body(tree: ast.AST) -> Iterator[ast.AST]:
    """Decorators and defaults of a function, which are code of the module around it."""
    if isinstance(tree, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield from tree.decorator_list
        yield from (default for default in [*tree.args.defaults, *tree.args.kw_defaults] if default is not None)


def _globals_of(code: types.CodeType) -> Iterator[str]:
    """Names that a code object, and those inside it, look up outside themselves."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_of(constant)


def _chains(tree: ast.AST) -> dict[str, set[tuple[str, ...] | None]]:
    """For each name, the attribute chains taken from it; None where it is used bare."""
    found: dict[str, set[tuple[str, ...] | None]] = {}
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts, root = [node.attr], node.value
            while isinstance(root, ast.Attribute):
                parts.append(root.attr)
                inside.add(id(root))
                root = root.value
            if isinstance(root, ast.Name) and id(node) not in inside:
                found.setdefault(root.id, set()).add(tuple(reversed(parts)))
                inside.add(id(root))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in inside:
            found.setdefault(node.id, set()).add(None)
    return found


def _bytecode(code: types.CodeType) -> Any:
    """What stands for a function without source, such as a lambda: its instructions and constants."""
    constants = [
        _bytecode(c) if isinstance(c, types.CodeType) else sorted(map(repr, c)) if isinstance(c, frozenset) else repr(c)
        for c in code.co_consts
    ]
    return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)]


def _as_tuple(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)
