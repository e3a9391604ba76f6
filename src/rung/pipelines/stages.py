"""Stages: steps that run a command over files of the project's folder, as a ``dvc.yaml`` describes them.

The command is run by ``sh -c`` as its user wrote it, in the step's own process. What earlier stages made is put in its
place before, unless it lies there already; what the stage makes is taken from its place after.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rung.core.digests import digest_of_file
from rung.core.errors import Invalid, NotFound


def stage(
    module: str,
    name: str,
    command: str | Sequence[str],
    outs: Sequence[str],
    deps: Mapping[str, Path] | None = None,
    *,
    folder: str = ".",
    persist: Sequence[str] = (),
    frozen: bool = False,
) -> tuple[Path, ...]:
    """Run a stage's commands, one after the other; the paths of what it made.

    Args:
        module: the module of the step, whose folder holds the files unless the working folder does.
        command: lines for ``sh -c``.
        outs: what it makes, relative to the project; removed before, but for ``persist``.
        deps: what earlier stages made, by its place in the project.
        folder: where the commands run, relative to the project.
        frozen: run nothing; what lies there is taken.

    Raises:
        Invalid: a command failed, or did not make what it should.
    """
    root = workspace(module)
    for place, held in (deps or {}).items():
        put(held, root / place)
    if not frozen:
        for out in outs:
            target = root / out
            target.parent.mkdir(parents=True, exist_ok=True)
            if out not in persist:
                _remove(target)
        for line in [command] if isinstance(command, str) else command:
            sys.stdout.flush()
            done = subprocess.run(["/bin/sh", "-c", line], cwd=root / folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            print((done.stdout + done.stderr).decode("utf-8", "replace"), end="")  # noqa: T201 - goes to the step's log
            if done.returncode:
                last = (done.stderr or done.stdout).decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
                raise Invalid(
                    f"Stage {name!r}: `{line}` ended with exit code {done.returncode}: {last}",
                    code="pipelines.stage_failed", hint="Its output is in the step's log.",
                )  # fmt: skip
    missing = [out for out in outs if not (root / out).exists()]
    if missing:
        raise Invalid(
            f"Stage {name!r} did not make {', '.join(missing)}.",
            code="pipelines.stage_without_output",
            hint="Correct its command or its outs in dvc.yaml.",
        )
    return tuple(root / out for out in outs)


def workspace(module: str) -> Path:
    """The folder in which stages run: the working folder where it holds the project, else the module's own."""
    file = getattr(sys.modules.get(module), "__file__", None)
    here = Path.cwd()
    if file is None or (here / Path(file).name).exists():
        return here
    return Path(file).resolve().parent


def put(held: Path, place: Path) -> bool:
    """Copy a file or folder to its place, unless the same lies there; whether it was copied."""
    if held.resolve() == place.resolve() or (place.exists() and _digests(held) == _digests(place)):
        return False
    _remove(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    if held.is_dir():
        shutil.copytree(held, place)
    else:
        shutil.copyfile(held, place)
    return True


def values(module: str, file: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Parameters of a YAML, JSON or TOML file by dotted key; all of it without keys. Raises NotFound."""
    path = workspace(module) / file
    held = read_values(path)
    return {key: value_at(held, key, file) for key in keys} if keys else held


def read_values(path: Path) -> dict[str, Any]:
    """What a YAML, JSON or TOML file holds. Raises NotFound, Invalid."""
    try:
        text = path.read_text("utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.", code="pipelines.no_file", hint="Correct the path.") from None
    except (ValueError, yaml.YAMLError, RecursionError, OSError) as error:
        raise Invalid(f"{path} cannot be read: {error}", code="pipelines.bad_file", hint="Mend the file.") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Invalid(f"{path} holds no names.", code="pipelines.bad_file", hint="Write `name: value`.")
    return found


def value_at(held: Any, key: str, where: str) -> Any:
    """The value at a dotted key. Raises NotFound."""
    for part in key.split("."):
        try:
            held = held[int(part)] if isinstance(held, list) else held[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise NotFound(f"{where} has no {key!r}.", code="pipelines.no_value", hint="Correct the key.") from None
    return held


def numbers(path: Path) -> dict[str, float]:
    """Finite numbers of a metrics file by dotted name."""
    found: dict[str, float] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{name}.{key}" if name else str(key))
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            found[name] = float(value)

    walk(read_values(path), "")
    return found


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _digests(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    return {"." if file == path else file.relative_to(path).as_posix(): digest_of_file(file)[0] for file in files}
