"""The stages of a DVC repository as Python source that its owner reads and keeps."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

from rung.core.errors import Invalid
from rung.pipelines.stage_variables import HOLE, dotted
from rung.protocols.exchange.dvc import Repository, Stage, overlap

MARK = "# Made by `rung import dvc`; made anew by it as long as this line stands."


@dataclass(frozen=True)
class _Names:
    steps: dict[str, str]
    paths: dict[str, str]


def source_of(repository: Repository, pipeline: str) -> str:
    """A module with a step a stage, and a pipeline that runs what is out of date and puts the outputs in their places.

    Raises:
        Invalid: stages wait for each other.
    """
    stages = repository.stages
    makers = {out.path: stage for stage in stages for out in stage.outs}
    steps, paths = _names(stages), {}
    taken = {*_TAKEN, *(_identifier(name) for name in steps.values()), f"{_identifier(pipeline)}_stages"}
    for path in makers:
        free = _identifier(path)
        while free in taken:
            free += "_"
        taken.add(free)
        paths[path] = free
    names = _Names(steps, paths)
    lines = [
        '"""The stages of dvc.yaml as a pipeline. A step runs when its command, parameters, code files or inputs have changed."""',
        "", MARK, "", "from __future__ import annotations", "", "from pathlib import Path", "", "import rung", "from rung import pipeline, step",
    ]  # fmt: skip
    ordered = _ordered(stages, makers)
    given = _given(repository)
    if given:
        lines.append("from rung.pipelines.stage_variables import filled, variables")
    words = ("numbers", "put", "stage", *(["value_at"] if any(held.bound_at for held in stages) else []), "values", "workspace")
    lines.append(f"from rung.pipelines.stages import {', '.join(words)}")
    for held in ordered:
        lines += ["", "", *_step(held, names, makers)]
    return "\n".join([*lines, "", "", *_ending(ordered, names, pipeline, given)]) + "\n"


def _given(repository: Repository) -> str:
    """The call that reads the variables of all stages; empty where neither a command nor a shape hangs on them."""
    if not (repository.fixed or repository.keys or any(_follows(held) for held in repository.stages)):
        return ""
    return _variables(repository.listed, fixed=repository.fixed, keys=repository.keys)


def _variables(listed: tuple[object, ...], known: str = "", **options: object) -> str:
    held = "".join(f", {name}={value!r}" for name, value in options.items() if value)
    return f"variables(__name__, {listed!r}{f', {known}' if known else ''}{held})"


def _follows(held: Stage) -> bool:
    """Whether a stage's command has variables that are read at every run."""
    names = (dotted(hole[1]).partition(".")[0] for line in held.lines for hole in HOLE.finditer(line))
    return bool(held.fixed) or any(name not in held.bound for name in names)


def _step(held: Stage, names: _Names, makers: dict[str, Stage]) -> list[str]:
    made = _made(held, makers)
    files = [dep for dep in held.deps if not any(overlap(dep, path) for path in made)]
    files += [out.path for out in held.outs] if held.frozen else []
    options = []
    if files:
        options.append(f"files={_tuple(files)}")
    if held.always:
        options.append("cache=False")
    # a folder among the files stands for everything in it
    takes = [f"{names.paths[path]}: Path" for path in made]
    if _follows(held):
        takes.insert(0, f"command: {'str' if len(held.lines) == 1 else 'list[str]'}")
    if held.params:
        takes.append("params: dict[str, dict[str, object]]")
    answer = "None" if not held.outs else "Path" if len(held.outs) == 1 else f"tuple[{', '.join(['Path'] * len(held.outs))}]"
    command = "command" if _follows(held) else _lines(held.commands)
    deps = "{" + ", ".join(f"{path!r}: {names.paths[path]}" for path in made) + "}"
    call = [f"        __name__, {held.name!r},", f"        {command},", f"        outs={_tuple([o.path for o in held.outs])},"]
    if made:
        call.append(f"        deps={deps},")
    if held.folder != ".":
        call.append(f"        folder={held.folder!r},")
    persist = [out.path for out in held.outs if out.persist]
    if persist:
        call.append(f"        persist={_tuple(persist)},")
    if held.frozen:
        call.append("        frozen=True,")
    logs = [f"    rung.log_metrics(numbers(made[{i}]))" for i, out in enumerate(held.outs) if out.kind == "metrics" and _readable(out.path)]
    doc = held.doc or f"Stage {held.name}."
    return [
        f"@step(name={names.steps[held.name]!r}{''.join(f', {option}' for option in options)})",
        f"def {_identifier(names.steps[held.name])}({', '.join(takes)}) -> {answer}:",
        f"    {_doc(doc)}",
        "    made = stage(", *call, "    )", *logs,
        *([] if not held.outs else ["    return made[0]" if len(held.outs) == 1 else f"    return {', '.join(f'made[{i}]' for i in range(len(held.outs)))}"]),
    ]  # fmt: skip


def _ending(ordered: list[Stage], names: _Names, pipeline: str, given: str) -> list[str]:
    makers = {out.path: stage for stage in ordered for out in stage.outs}
    lines = [
        "@step(cache=False)",
        "def placed(made: dict[str, Path]) -> int:",
        '    """Put every output in its place in the folder; how many were not there as they should be."""',
        "    return sum(put(held, workspace(__name__) / place) for place, held in made.items())",
        "", "",
        f"@pipeline(name={pipeline!r})",
        f"def {_identifier(pipeline)}_stages() -> int:",
        '    """Reproduce every stage of dvc.yaml."""', *([f"    given = {given}"] if given else []),
    ]  # fmt: skip
    for held in ordered:
        arguments = [*([_command(held)] if _follows(held) else []), *(names.paths[path] for path in _made(held, makers))]
        if held.params:
            inner = ", ".join(f"{file!r}: values(__name__, {file!r}{f', {list(keys)!r}' if keys else ''})" for file, keys in held.params)
            arguments.append(f"{{{inner}}}")
        call = f"{_identifier(names.steps[held.name])}({', '.join(arguments)})"
        outs = ", ".join(names.paths[out.path] for out in held.outs)
        lines.append(f"    {outs} = {call}" if held.outs else f"    {call}")
    places = ", ".join(f"{path!r}: {names.paths[path]}" for path in makers)
    return [*lines, f"    return placed({{{places}}})"]


def _command(held: Stage) -> str:
    """The expression of a command that follows its variables."""
    own = held.listed or held.fixed
    known = (
        _variables(held.listed, "given", **({"folder": held.folder} if held.folder != "." else {}), fixed=held.fixed) if own else "given"
    )
    bound = [f"{name}={value!r}" for name, value in held.bound.items()]
    bound += [f"{name}=value_at(given, {place!r}, 'vars')" for name, place in held.bound_at.items()]
    return f"filled({', '.join([_lines(held.lines), known, *bound])})"


def _made(held: Stage, makers: dict[str, Stage]) -> list[str]:
    return [path for path in makers if makers[path].name != held.name and any(overlap(path, dep) for dep in held.deps)]


def _ordered(stages: tuple[Stage, ...], makers: dict[str, Stage]) -> list[Stage]:
    needs = {held.name: {makers[path].name for path in _made(held, makers)} for held in stages}
    ordered: list[Stage] = []
    waiting = list(stages)
    while waiting:
        done = {held.name for held in ordered}
        ready = [held for held in waiting if needs[held.name] <= done]
        if not ready:
            cycle = " -> ".join(held.name for held in waiting)
            raise Invalid(f"Stages wait for each other: {cycle}.", code="exchange.bad_dvc", hint="Take one of their deps out.")
        ordered += ready
        waiting = [held for held in waiting if held not in ready]
    return ordered


def _names(stages: tuple[Stage, ...]) -> dict[str, str]:
    """Step names by stage: what DVC allows and a step does not becomes a dash; a number tells alike ones apart."""
    found: dict[str, str] = {}
    for held in stages:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", held.name).strip("-._") or "stage"
        free, number = name, 2
        while free in found.values() or free == "placed" or _identifier(free) in {_identifier(other) for other in found.values()}:
            free, number = f"{name}-{number}", number + 1
        found[held.name] = free
    return found


_TAKEN = {
    "Path",
    "rung",
    "pipeline",
    "step",
    "numbers",
    "put",
    "stage",
    "values",
    "workspace",
    "placed",
    "made",
    "params",
    "command",
    "given",
    "filled",
    "variables",
    "value_at",
}


def _identifier(text: str) -> str:
    name = re.sub(r"\W", "_", text)
    name = f"_{name}" if name[:1].isdigit() else name
    return f"{name}_" if keyword.iskeyword(name) or name in _TAKEN else name


def _lines(items: tuple[str, ...]) -> str:
    return repr(items[0]) if len(items) == 1 else _tuple(items)


def _tuple(items: list[str] | tuple[str, ...]) -> str:
    return repr(tuple(items))


def _doc(text: str) -> str:
    line = " ".join(text.split())[:300].replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{line}{" " if line.endswith(chr(34)) else ""}"""'


def _readable(path: str) -> bool:
    return path.endswith((".json", ".yaml", ".yml", ".toml"))
