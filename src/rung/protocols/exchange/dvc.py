"""DVC: the stages of a ``dvc.yaml``, with ``foreach`` and ``matrix`` written out.

Variables are filled in where they shape the stages (paths, names, what is gone over), and what they were is kept; in
commands they stay variables, for a command is to follow ``params.yaml`` as it does in DVC.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from rung.core.errors import Invalid, NotFound
from rung.core.records import Record
from rung.pipelines.stage_variables import HOLE, dotted, filled, keys_of, merged_variables, plain, text_of
from rung.pipelines.stages import read_values, value_at

_FIELDS = {
    "cmd", "deps", "outs", "params", "metrics", "plots", "wdir", "frozen", "always_changed", "desc", "meta", "vars",
}  # fmt: skip
_TOP = {"stages", "vars", "params", "metrics", "plots", "artifacts", "datasets"}


class Out(Record):
    """Something a stage makes, by its place in the repository."""

    path: str
    kind: str = "out"
    persist: bool = False


@dataclass(frozen=True)
class Known:
    """Variables at a place of ``dvc.yaml``.

    ``bound`` are those of a ``foreach`` or ``matrix``, as values; ``bound_at`` those that are read anew, by where they stand.
    ``fixed`` and ``keys`` gather what shaped the stages.
    """

    values: dict[str, Any]
    listed: tuple[Any, ...] = ()
    bound: dict[str, Any] = field(default_factory=dict)
    bound_at: dict[str, str] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def at(self, name: str) -> Any:
        """The value of a dotted name. Raises NotFound."""
        live = {item: value_at(self.values, place, "vars") for item, place in self.bound_at.items()}
        return value_at({**self.values, **live, **self.bound}, dotted(name), "vars")

    def shaping(self, name: str) -> Any:
        """The value of a dotted name that shapes a stage. Raises NotFound."""
        found = self.at(name)
        first, dot, rest = dotted(name).partition(".")
        if first not in self.bound:
            self.fixed[self.bound_at.get(first, first) + dot + rest] = plain(found)
        return found


class Stage(Record):
    """A stage; paths are relative to the folder of ``dvc.yaml``.

    ``commands`` have the variables of now filled in; ``lines`` are what they are made of at every run, with the variables
    ``bound`` and ``bound_at`` and, where it lists some, its own ``vars``. Both are the same where no variable is in them.
    """

    name: str
    commands: tuple[str, ...]
    lines: tuple[str, ...] = ()
    bound: dict[str, Any] = {}
    bound_at: dict[str, str] = {}
    listed: tuple[Any, ...] = ()
    fixed: dict[str, Any] = {}
    deps: tuple[str, ...] = ()
    outs: tuple[Out, ...] = ()
    params: tuple[tuple[str, tuple[str, ...]], ...] = ()
    folder: str = "."
    frozen: bool = False
    always: bool = False
    doc: str = ""


class Repository(Record):
    """The stages in the order of the file, the variables they share and what of these shapes them, and what the reader should know."""

    stages: tuple[Stage, ...]
    listed: tuple[Any, ...]
    fixed: dict[str, Any]
    keys: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


def read_stages(path: Path) -> Repository:
    """What a ``dvc.yaml`` holds. Raises Invalid, NotFound, naming the stage."""
    document = read_values(path)
    unknown = sorted(set(document) - _TOP)
    if unknown:
        raise _wrong(path.name, f"has no meaning for {unknown[0]!r} here", f"It may hold: {', '.join(sorted(_TOP))}.")
    listed_variables = (*(["params.yaml"] if (path.parent / "params.yaml").is_file() else []), *(document.get("vars") or []))
    variables = Known(merged_variables(path.parent, listed_variables, {}, where=path.name), plain(list(listed_variables)))
    stages: list[Stage] = []
    listed = document.get("stages") or {}
    if not isinstance(listed, dict):
        raise _wrong(path.name, "has stages that are no mapping", "Write each under its name.")
    for name, body in listed.items():
        stages += [_stage(path.parent, full, held, known) for full, held, known in _expanded(path.parent, str(name), body, variables)]
    if not stages:
        raise _wrong(path.name, "has no stages", "Import the dvc.yaml that has them.")
    _refuse_shared_outs(stages)
    return Repository(
        stages=tuple(stages), listed=tuple(variables.listed), fixed=variables.fixed, keys=variables.keys,
        notes=tuple(_notes(path, document, stages)),
    )  # fmt: skip


def _expanded(root: Path, name: str, body: Any, variables: Known) -> Iterator[tuple[str, dict[str, Any], Known]]:
    if not isinstance(body, dict):
        raise _wrong(f"Stage {name!r}", "is no mapping", "Give it a cmd.")
    if "foreach" in body:
        do = body.get("do")
        if not isinstance(do, dict) or set(body) - {"foreach", "do"}:
            raise _wrong(f"Stage {name!r}", "has foreach, and needs do beside it and nothing else", "Move the rest into do.")
        yield from _for_each(name, body["foreach"], do, variables)
        return
    if "matrix" in body:
        inner = {key: value for key, value in body.items() if key != "matrix"}
        axes = _filled(body["matrix"], variables, name)
        if not isinstance(axes, dict) or not all(isinstance(values, list) for values in axes.values()):
            raise _wrong(f"Stage {name!r}", "has a matrix that is no mapping of lists", "List the values of each dimension.")
        for places in itertools.product(*(range(len(values)) for values in axes.values())):
            item = {axis: axes[axis][place] for axis, place in zip(axes, places, strict=True)}
            words = [f"{a}{p}" if isinstance(item[a], (dict, list)) else text_of(item[a]) for a, p in zip(axes, places, strict=True)]
            suffix = "-".join(words)
            yield f"{name}@{suffix}", inner, replace(variables, bound={"item": plain(item), "key": suffix})
        return
    yield name, body, variables


def _for_each(name: str, listed: Any, do: dict[str, Any], variables: Known) -> Iterator[tuple[str, dict[str, Any], Known]]:
    """The stages of a foreach. Of a variable's items only the names are fixed; what they hold is read at every run."""
    alone = HOLE.fullmatch(listed) if isinstance(listed, str) else None
    over = _variable(alone[1], variables, name, shaping=False) if alone else _filled(listed, variables, name)
    if not isinstance(over, (dict, list)):
        raise _wrong(f"Stage {name!r}", "has a foreach that is neither list nor mapping", "List what it goes over.")
    scalars = isinstance(over, list) and all(not isinstance(item, (dict, list)) for item in over)
    place = dotted(alone[1]) if alone and not scalars and not any("." in key for key in keys_of(over)) else ""
    if place:
        variables.keys[place] = tuple(keys_of(over))
    elif alone:
        _variable(alone[1], variables, name)
    for key, item in over.items() if isinstance(over, dict) else zip(keys_of(over), over, strict=True):
        known = {"key": str(key)} if isinstance(over, dict) else {}
        if place:
            held = replace(variables, bound=known, bound_at={"item": f"{place}.{key}"})
        else:
            held = replace(variables, bound={**known, "item": plain(item)})
        yield f"{name}@{text_of(item) if scalars else key}", do, held


def _stage(root: Path, name: str, body: Mapping[str, Any], variables: Known) -> Stage:
    unknown = sorted(set(body) - _FIELDS)
    if unknown:
        raise _wrong(f"Stage {name!r}", f"has no meaning for {unknown[0]!r}", f"A stage may hold: {', '.join(sorted(_FIELDS))}.")
    if not body.get("cmd"):
        raise _wrong(f"Stage {name!r}", "has no cmd", "Give it one.")
    folder = _place(name, ".", _filled(body.get("wdir", "."), variables, name))
    own = tuple(plain(list(body.get("vars") or [])))
    if own:
        values = merged_variables(root / folder, own, variables.values, where=f"Stage {name!r}")
        variables = replace(variables, values=values, fixed={}, keys={})
    lines = tuple(str(line) for line in (body["cmd"] if isinstance(body["cmd"], list) else [body["cmd"]]))
    for hole in itertools.chain.from_iterable(HOLE.finditer(line) for line in lines):
        _variable(hole[1], variables, name, shaping=False)
    live = {item: value_at(variables.values, place, name) for item, place in variables.bound_at.items()}
    commands = tuple(filled(line, {**variables.values, **live, **variables.bound}) for line in lines)
    outs = [
        _out(name, folder, _filled(item, variables, name), kind)
        for field, kind in (("outs", "out"), ("metrics", "metrics"), ("plots", "plot"))
        for item in _listed(name, field, body.get(field))
    ]
    deps = [_filled(item, variables, name) for item in _listed(name, "deps", body.get("deps"))]
    return Stage(
        name=name,
        commands=commands,
        lines=lines,
        bound=variables.bound,
        bound_at=variables.bound_at,
        listed=own,
        fixed=variables.fixed if own else {},
        deps=tuple(dict.fromkeys(_place(name, folder, dep) for dep in deps)),
        outs=tuple({out.path: out for out in outs}.values()),
        params=_params(name, folder, _filled(body.get("params") or [], variables, name)),
        folder=folder,
        frozen=bool(body.get("frozen")),
        always=bool(body.get("always_changed")),
        doc=str(body.get("desc") or ""),
    )


def _out(stage: str, folder: str, item: Any, kind: str) -> Out:
    path, flags = (item, {}) if isinstance(item, str) else next(iter(item.items()))
    flags = flags or {}
    if flags.get("remote"):
        raise _wrong(f"Stage {stage!r}", f"keeps {path} on a remote of its own", "Take `remote:` out; Rung keeps it in its blob store.")
    return Out(path=_place(stage, folder, path), kind=kind, persist=bool(flags.get("persist")))


def _listed(stage: str, field: str, items: Any) -> list[Any]:
    """Items of a field: a list of paths or of one-entry mappings, or a mapping."""
    if items is None:
        return []
    if isinstance(items, dict):
        return [{key: value} for key, value in items.items()]
    if not isinstance(items, list) or not all(isinstance(item, str) or (isinstance(item, dict) and len(item) == 1) for item in items):
        raise _wrong(f"Stage {stage!r}", f"has {field} that are no list of paths", "Write one path an entry.")
    return items


def _params(stage: str, folder: str, items: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(items, list):
        raise _wrong(f"Stage {stage!r}", "has params that are no list", "Write one key an entry.")
    found: dict[str, list[str]] = {}
    whole: set[str] = set()
    for item in items:
        for file, keys in item.items() if isinstance(item, dict) else [("params.yaml", [item])]:
            place = _place(stage, folder, str(file))
            found.setdefault(place, []).extend(str(key) for key in keys or [])
            whole |= set() if keys else {place}
    for file in found:
        if PurePosixPath(file).suffix not in {".yaml", ".yml", ".json", ".toml"}:
            raise _wrong(f"Stage {stage!r}", f"has parameters in {file}", "Move them to a YAML, JSON or TOML file.")
    return tuple((file, () if file in whole else tuple(dict.fromkeys(keys))) for file, keys in found.items())


def _place(stage: str, folder: str, path: Any) -> str:
    """A path as seen from the folder of dvc.yaml. Raises Invalid for one outside of it, or elsewhere."""
    text = str(path)
    if "://" in text or text.startswith("/"):
        raise _wrong(f"Stage {stage!r}", f"names {text}, which lies outside of the repository", "Add it as a dataset: rung data add.")
    parts: list[str] = []
    for part in PurePosixPath(folder, text).parts:
        if part == "..":
            if not parts:
                raise _wrong(f"Stage {stage!r}", f"names {text}, which lies above dvc.yaml", "Import the dvc.yaml of the folder above.")
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts) or "."


def _filled(value: Any, variables: Known, stage: str) -> Any:
    """A value with its ``${…}`` filled in: one that is nothing else keeps the variable's type."""
    if isinstance(value, dict):
        return {_filled(key, variables, stage): _filled(item, variables, stage) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, variables, stage) for item in value]
    if not isinstance(value, str):
        return value
    alone = HOLE.fullmatch(value)
    if alone:
        return _variable(alone[1], variables, stage)

    def scalar(hole: re.Match[str]) -> str:
        found = _variable(hole[1], variables, stage)
        if isinstance(found, (dict, list)):
            raise _wrong(f"Stage {stage!r}", f"puts {hole[0]}, which is no scalar, into a text", "Name a value inside of it.")
        return text_of(found)

    return HOLE.sub(scalar, value).replace("\\${", "${")


def _variable(name: str, variables: Known, stage: str, *, shaping: bool = True) -> Any:
    try:
        return variables.shaping(name) if shaping else variables.at(name)
    except NotFound:
        raise _wrong(f"Stage {stage!r}", f"uses ${{{name}}}, which no vars define", "Add it to params.yaml or vars.") from None


def _refuse_shared_outs(stages: list[Stage]) -> None:
    held: dict[str, str] = {}
    for stage in stages:
        for out in stage.outs:
            other = next((name for path, name in held.items() if overlap(path, out.path)), None)
            if other:
                raise _wrong(f"Stage {stage.name!r}", f"makes {out.path}, which stage {other!r} makes", "Give one of them another path.")
        held |= {out.path: stage.name for out in stage.outs}


def overlap(first: str, second: str) -> bool:
    """Whether one path is, or lies within, the other."""
    a, b = PurePosixPath(first), PurePosixPath(second)
    return a == b or a in b.parents or b in a.parents


def _notes(path: Path, document: Mapping[str, Any], stages: list[Stage]) -> Iterator[str]:
    lock = path.with_name("dvc.lock")
    if lock.is_file():
        try:
            locked = (yaml.safe_load(lock.read_text("utf-8")) or {}).get("stages") or {}
        except yaml.YAMLError as error:
            raise _wrong(lock.name, f"cannot be read: {error}", "Take it away, or run dvc repro.") from None
        for stage in stages:
            entry = locked.get(stage.name)
            commands = () if entry is None else tuple(entry["cmd"] if isinstance(entry["cmd"], list) else [entry["cmd"]])
            if entry is None or commands != stage.commands:
                yield f"Stage {stage.name!r} {'is not in' if entry is None else 'has another command than in'} dvc.lock: DVC has not run it so."
    for name in ("artifacts", "datasets"):
        if document.get(name):
            yield f"`{name}` of dvc.yaml are left out: register models and add datasets with Rung."


def _wrong(where: str, what: str, hint: str) -> Invalid:
    return Invalid(f"{where} {what}.", code="exchange.bad_dvc", hint=hint)
