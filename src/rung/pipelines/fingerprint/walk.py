"""The walk from a step's function to everything of the project that it reaches."""

from __future__ import annotations

import ast
import builtins
import copyreg
import enum
import functools
import importlib
import importlib.util
import re
import sys
import threading
import types
import typing
from collections.abc import Iterable
from typing import Any

import msgspec

from rung.core.digests import digest_of_value
from rung.pipelines.authoring import Pipeline, Step
from rung.pipelines.fingerprint import sources, values
from rung.pipelines.fingerprint.names import Chain, Import, Spoken, of_class, read_calls, spoken_by, type_checking_imports

_SHORT = 100
_NOT_OWN = {"__module__", "__dict__", "__weakref__", "__doc__", "__qualname__", "__firstlineno__", "__static_attributes__"}
_GENERIC = (types.GenericAlias, types.UnionType, type(typing.Optional[int]), type(typing.List[int]))  # noqa: UP006, UP045 - their classes
_lock = threading.RLock()
_first_seen: dict[tuple[int, str], tuple[dict[str, Any], Any]] = {}
_of_nodes: dict[int, tuple[ast.AST, str]] = {}
_of_classes: dict[int, tuple[ast.AST, Spoken]] = {}
_MOST_SEEN = 2_000
_DRAW_NOTHING = frozenset(
    ("numpy", "polars", "pyarrow", "duckdb", "msgspec", "httpx", "requests", "urllib3", "boto3", "botocore", "obstore", "sqlalchemy", "yaml",
     "orjson", "dateutil", "tqdm", "click", "jinja2", "narwhals", "onnxruntime")
)  # fmt: skip


class Fingerprint(msgspec.Struct, frozen=True):
    """The digest of a step's code.

    ``unsure`` names what could not be followed, and is empty for a cacheable step. ``units`` are the functions, classes
    and constants it is made of, each with what it comes to; ``libraries`` the installed ones it reaches, by the
    names they are imported as. ``draws`` tells whether it may draw from the process's shared random generators, Python's or
    NumPy's: it reaches one of them, or a library that is not known to leave them alone.
    """

    digest: str
    unsure: tuple[str, ...] = ()
    units: dict[str, str] = msgspec.field(default_factory=dict)
    libraries: tuple[str, ...] = ()
    draws: bool = True


def fingerprint(function: Any) -> Fingerprint:
    """The fingerprint of a function as it is now, with the globals that it would find if it were called now."""
    with _lock:
        walk = _Walk()
        try:
            digest = digest_of_value(walk.visit(function, "step"))
        except RecursionError:
            return Fingerprint(digest="", unsure=("values that are nested too deeply",))
        except Exception as error:  # an object of the project or of a library that cannot even be looked at: its step still runs
            return Fingerprint(digest="", unsure=(f"a value that cannot be looked at ({type(error).__name__}: {error})"[:300],))
        return Fingerprint(digest, tuple(dict.fromkeys(walk.unsure)), walk.units, tuple(sorted(walk.libraries)), walk.draws)


class _Walk(msgspec.Struct):
    """One fingerprint in the making: what has been met already, by number of meeting."""

    met: dict[int, int] = msgspec.field(default_factory=dict)
    kept: list[Any] = msgspec.field(default_factory=list)
    unsure: list[str] = msgspec.field(default_factory=list)
    units: dict[str, str] = msgspec.field(default_factory=dict)
    libraries: set[str] = msgspec.field(default_factory=set)
    draws: bool = False

    def visit(self, value: Any, name: str) -> Any:
        """Plain parts that stand for a value."""
        if type(value) in values.PLAIN:
            return values.plain_parts(value)
        if id(value) in self.met:
            return ["met", self.met[id(value)]]
        self.met[id(value)] = len(self.met)
        self.kept.append(value)  # an id is only good while its object lives
        return self._callable(value, name) or self._plain(value, name) or self._instance(value, name)

    def _callable(self, value: Any, name: str) -> Any:
        """Parts of code in all its forms."""
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
        if isinstance(value, functools.cached_property):
            return ["property", self.visit(value.func, name)]
        if isinstance(value, (functools.partial, functools.partialmethod)):
            return ["partial", self.visit(value.func, name), self.visit(list(value.args), name), self.visit(value.keywords, name)]
        if isinstance(value, _GENERIC):
            return ["generic", *(self.visit(part, name) for part in (typing.get_origin(value), *typing.get_args(value)))]
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.BuiltinFunctionType):
            return self._builtin(value, name)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        return None

    def _plain(self, value: Any, name: str) -> Any:
        """Parts of containers and simple values."""
        if isinstance(value, enum.Enum):
            return ["enum", self.visit(type(value), name), value.name]
        if type(value) in {list, tuple}:
            return [type(value).__name__, *(self.visit(item, name) for item in value)]
        if type(value) in {dict, types.MappingProxyType}:
            return ["dict", *([self.visit(key, name), self.visit(item, name)] for key, item in value.items())]
        if type(value) in {set, frozenset}:
            return [type(value).__name__, *sorted(digest_of_value(self._alone(item, name)) for item in value)]
        if isinstance(value, re.Pattern):
            return ["pattern", repr(value.pattern), value.flags]
        if callable(value) and hasattr(value, "__wrapped__"):
            return ["wrapped", type(value).__qualname__, self.visit(value.__wrapped__, name)]
        return values.simple_parts(value)

    def _alone(self, value: Any, name: str) -> Any:
        """Parts of a value that do not depend on what else has been met."""
        inner = _Walk(units=self.units, libraries=self.libraries, unsure=self.unsure)
        found = inner.visit(value, name)
        self.draws |= inner.draws
        return found

    def _unit(self, place: str, content: str) -> None:
        held = self.units.get(place)
        self.units[place] = content if held in {None, content} else digest_of_value(sorted([str(held), content]))

    def _installed(self, module: str | None, qualname: str = "") -> list[Any]:
        root = (module or "").partition(".")[0]
        if root and root != "rung" and root not in sys.stdlib_module_names:
            self.libraries.add(root)
            self.draws |= root not in _DRAW_NOTHING
        self.draws |= root == "random" or (module or "").startswith("numpy.random")
        return ["installed", module, qualname]

    def _function(self, function: types.FunctionType) -> Any:
        code = function.__code__
        if not sources.is_project(code.co_filename, function.__globals__.get("__name__", function.__module__)):
            return [*self._installed(function.__globals__.get("__name__"), function.__qualname__), *self._wrapping(function)]
        node, space = sources.function_node(code), function.__globals__
        own = _digest_of_node(node, space) if node else digest_of_value(sources.plain_code(code, function.__doc__))
        place = f"{sources.place_of(code.co_filename, space.get('__name__'))}:{function.__qualname__}"
        self._unit(place, own)
        spoken = spoken_by(code, node, space)
        parts: list[Any] = ["function", function.__qualname__, own, *self._spoken(spoken, space, place, code.co_filename)]
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                parts.append([name, self.visit(cell.cell_contents, name)])
            except ValueError:
                parts.append([name, "empty"])
        defaults = [function.__defaults__, function.__kwdefaults__]
        attributes = {key: held for key, held in vars(function).items() if key != "__wrapped__"}
        return [
            *parts,
            self.visit(defaults, f"a default of {function.__name__}"),
            self.visit(values.by_name(attributes), function.__name__),
        ]

    def _wrapping(self, function: types.FunctionType) -> list[Any]:
        """Code of the project that an installed function carries along: what a decorator of a library wraps or keeps."""
        parts = [self.visit(function.__wrapped__, function.__name__)] if hasattr(function, "__wrapped__") else []
        registry = getattr(function, "registry", None)
        if isinstance(registry, types.MappingProxyType):  # functools.singledispatch
            inner = sorted(registry.items(), key=lambda pair: (pair[0].__module__, pair[0].__qualname__))
            parts += [[self.visit(kind, "registry"), self.visit(held, function.__name__)] for kind, held in inner]
        for cell in function.__closure__ or ():
            try:
                parts += self._carried(cell.cell_contents, function.__name__)
            except ValueError:
                continue
        return parts

    def _carried(self, value: Any, name: str, depth: int = 3) -> list[Any]:
        """Parts of the project's code in a value, through the plain containers."""
        if isinstance(value, (types.FunctionType, types.MethodType, functools.partial, Step)) or (
            isinstance(value, type) and sources.is_project_class(value)
        ):
            return [self.visit(value, name)]
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
        return [part for item in inner for part in self._carried(item, name, depth - 1)] if depth else []

    def _builtin(self, value: types.BuiltinFunctionType, name: str) -> Any:
        """Parts of compiled functions: by the bytes of an extension of the project, or by name and what they are bound to."""
        owner = value.__self__
        if owner is not None and not isinstance(owner, types.ModuleType):
            return ["bound", value.__name__, self.visit(owner, name)]
        module = sys.modules.get(value.__module__ or "")
        return [self._extension(module) or self._installed(value.__module__), value.__qualname__]

    def _extension(self, module: types.ModuleType | None) -> Any:
        file = getattr(module, "__file__", None)
        if module is None or file is None or not sources.is_binary(file) or not sources.is_project_module(module):
            return None
        digest = sources.binary_digest(file)
        self._unit(sources.place_of(file, module.__name__), digest)
        return ["extension", module.__name__, digest]

    def _class(self, kind: type) -> Any:
        module = sys.modules.get(kind.__module__)
        if not sources.is_project_class(kind):
            return self._installed(kind.__module__, kind.__qualname__)
        if extension := self._extension(module):
            return [extension, kind.__qualname__]
        parts: list[Any] = ["class", kind.__qualname__]
        node, space = sources.class_node(kind), vars(module) if module else {}
        file = getattr(module, "__file__", None)
        if node is not None:
            own = _digest_of_node(node, space)
            place = f"{sources.place_of(file, kind.__module__)}:{kind.__qualname__}"
            self._unit(place, own)
            spoken = _spoken_by_class(node, space)
            parts += [own, *self._spoken(spoken, space, place, str(file))]
        parts += self._members(kind, made_by_call=node is None)
        parts += [self.visit(base, base.__qualname__) for base in kind.__mro__[1:] if base is not object]
        return [*parts, self.visit(type(kind), kind.__qualname__)] if type(kind) is not type else parts

    def _members(self, kind: type, *, made_by_call: bool) -> list[Any]:
        """Parts of what a class holds now; what only its written body tells is told by the body's tree."""
        parts: list[Any] = []
        for name, held in sorted(vars(kind).items()):
            if name in _NOT_OWN or (name.startswith("__") and not callable(held) and name not in {"__slots__", "__fields__"}):
                continue
            generated = isinstance(held, types.FunctionType) and held.__code__.co_filename.startswith("<string>")
            if not made_by_call and (generated or name in {"_abc_impl", "_member_map_", "_value2member_map_", "_member_names_"}):
                continue
            if made_by_call or self._is_followed(held):
                parts.append([name, self.visit(held, f"{kind.__qualname__}.{name}")])
        return parts

    def _is_followed(self, held: Any) -> bool:
        code = (
            types.FunctionType,
            types.MethodType,
            staticmethod,
            classmethod,
            property,
            functools.partialmethod,
            functools.cached_property,
        )
        if isinstance(held, (*code, functools.partial, list, tuple, dict, set, frozenset, re.Pattern, Step)) or type(held) in values.PLAIN:
            return True
        return isinstance(held, type) or hasattr(held, "__wrapped__") or sources.is_project_class(type(held))

    def _spoken(self, spoken: Spoken, space: dict[str, Any], place: str, file: str) -> list[Any]:
        """Parts of everything that a piece of code speaks of."""
        parts: list[Any] = [self._names(spoken.names, spoken, space, file)]
        parts += [self._import(item, spoken.chains, space.get("__package__")) for item in spoken.imports]
        self.unsure += [f"what {word} in {place} makes" for word in spoken.dynamic if word not in space]
        for text in spoken.texts:
            parts.append(self._text(text, space, place, file))
        if spoken.own_module and (module := sys.modules.get(str(space.get("__name__")))):
            parts.append(self.visit(module, module.__name__))
        return parts

    def _text(self, text: str, space: dict[str, Any], place: str, file: str) -> Any:
        """Parts of code in a literal string that is executed."""
        try:
            tree = ast.parse(text)
        except SyntaxError:
            return ["no code", text]
        inner = Spoken(names={node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})
        read_calls(tree, inner)
        return self._spoken(inner, space, place, file)

    def _names(self, names: Iterable[str], spoken: Spoken, space: dict[str, Any], file: str) -> Any:
        """Parts of the globals that are used, each with its attributes where it is a module."""
        found: list[Any] = []
        for name in sorted(names):
            if name not in space:
                if not hasattr(builtins, name):
                    found.append([name, self._for_types(name, file, space)])
                continue
            value, chains = space[name], spoken.chains.get(name)
            if isinstance(value, types.ModuleType) and chains and None not in chains:
                found.append([name, [self._attribute(value, chain) for chain in sorted(c for c in chains if c)]])
            elif name in spoken.written:
                found.append([name, self._at_first(name, value, space)])
            else:
                found.append([name, self.visit(value, name)])
                self._constant(name, value, space)
        return found

    def _constant(self, name: str, value: Any, space: dict[str, Any]) -> None:
        """Let a value of the module be a unit of its own, to tell it apart when it changes."""
        if isinstance(value, (types.FunctionType, type, types.ModuleType, Step, Pipeline, types.BuiltinFunctionType)):
            return
        if type(value).__module__.partition(".")[0] == "rung":
            return
        text = repr(value) if type(value) in values.PLAIN else ""
        content = text if 0 < len(text) <= _SHORT else digest_of_value(_Walk().visit(value, name))
        self._unit(f"{sources.place_of(space.get('__file__'), space.get('__name__'))}:{name}", content)

    def _at_first(self, name: str, value: Any, space: dict[str, Any]) -> Any:
        """Parts of a value that the code itself changes, as it was first seen in this process: it is state, not input."""
        held = _first_seen.get((id(space), name))
        if held is None or held[0] is not space:
            sources.make_room(_first_seen, _MOST_SEEN)
            held = _first_seen[id(space), name] = (space, self._alone(value, name))
        return held[1]

    def _for_types(self, name: str, file: str, space: dict[str, Any]) -> Any:
        """Parts of a name that is imported for type checkers only: the class whose methods the code will meet."""
        source = sources.source_of(file)
        item = type_checking_imports(source.tree).get(name) if source else None
        return "unknown" if item is None else self._import(item, {}, space.get("__package__"))

    def _attribute(self, module: types.ModuleType, chain: Chain) -> Any:
        """Parts of ``module.a.b``: of the first thing on the way that is not a module."""
        value: Any = module
        for part in chain:
            if not isinstance(value, types.ModuleType):
                break
            if not sources.is_project_module(value):
                self.draws |= value.__name__ == "numpy" and part == "random"
                return self._installed(value.__name__)
            try:
                value = getattr(value, part)
            except AttributeError:
                return ["missing", ".".join(chain)]
        parts = [".".join(chain), self.visit(value, ".".join(chain))]
        if not isinstance(value, types.ModuleType):
            self._constant(chain[-1], value, vars(module))
        return parts

    def _module(self, module: types.ModuleType) -> Any:
        """A module used as a whole: everything in it counts."""
        if not sources.is_project_module(module):
            return self._installed(module.__name__)
        if extension := self._extension(module):
            return extension
        source = sources.source_of(str(getattr(module, "__file__", "")))
        space = {k: v for k, v in vars(module).items() if not k.startswith("__")}
        own = sources.dumped(source.tree, vars(module)) if source else ""
        if own:
            self._unit(sources.place_of(module.__file__, module.__name__), own)
        return ["module", module.__name__, own, [[name, self.visit(value, name)] for name, value in sorted(space.items())]]

    def _import(self, item: Import, chains: dict[str, set[Chain | None]], package: Any) -> Any:
        """Parts of what is imported inside a function."""
        written = "." * item.level + item.module
        try:
            full = importlib.util.resolve_name(written, package or "") if item.level else item.module
            if not self._is_ours(full):
                self.draws |= full == "numpy"  # what of it is used is not followed
                return self._installed(full, item.name or "")
            held = importlib.import_module(full)
            taken = chains.get(item.alias)
            if item.name not in {None, "*"}:
                value = getattr(held, item.name) if hasattr(held, str(item.name)) else importlib.import_module(f"{full}.{item.name}")
                if isinstance(value, types.ModuleType) and taken and None not in taken:
                    return [item.name, [self._attribute(value, chain) for chain in sorted(c for c in taken if c)]]
                return [item.name, self.visit(value, str(item.name))]
            if item.name is None and taken and None not in taken:
                root = sys.modules[full.partition(".")[0]] if item.alias == full.partition(".")[0] else held
                return [full, [self._attribute(root, chain) for chain in sorted(c for c in taken if c)]]
            return [full, self.visit(held, full)]
        except (ImportError, ValueError, AttributeError) as error:
            return ["not importable", written, item.name, type(error).__name__]

    @staticmethod
    def _is_ours(module: str) -> bool:
        held = sys.modules.get(module)
        if held is not None:
            return sources.is_project_module(held)
        spec = importlib.util.find_spec(module)
        if spec is None:
            raise ImportError(module)
        places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
        return any(sources.is_project(f"{place}/" if not spec.has_location else place, module) for place in places)

    def _instance(self, value: Any, name: str) -> Any:
        """Parts of any other value: the code of its type, and its state."""
        kind = type(value)
        if sources.is_project_class(kind):
            state = [self.visit(part, name) for part in (values.state_of(value), values.held_in(value))]
            return ["instance", self.visit(kind, name), *state]
        if type(kind) is type and kind.__module__.partition(".")[0] == "rung":
            return ["rung", kind.__qualname__, values.written_parts(value, name)]
        parts = values.content_parts(value, name)
        if parts is None and (reduced := values.reduced(value)) is not None:
            if reduced and reduced[0] in {copyreg.__newobj__, copyreg.__reduce_ex__}:  # type: ignore[attr-defined]  # copyreg's own
                reduced[0] = "new"
            parts = ["reduced", *(self.visit(part, name) for part in reduced)]
        parts = parts or values.written_parts(value, name)
        if parts is None:
            self.unsure.append(f"the global {name!r}, a {kind.__module__}.{kind.__qualname__}")
            return ["unsure", kind.__module__, kind.__qualname__]
        return [self.visit(kind, name), parts]


def _digest_of_node(node: ast.AST, space: dict[str, Any]) -> str:
    held = _of_nodes.get(id(node))
    if held is None or held[0] is not node:
        sources.make_room(_of_nodes)
        held = _of_nodes[id(node)] = (node, sources.dumped(node, space))
    return held[1]


def _spoken_by_class(node: ast.ClassDef, space: dict[str, Any]) -> Spoken:
    held = _of_classes.get(id(node))
    if held is None or held[0] is not node:
        sources.make_room(_of_classes)
        held = _of_classes[id(node)] = (node, of_class(node, space))
    return held[1]
