"""What ``rung.autolog`` was asked for, by library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Options:
    """How much is logged of a library's calls."""

    experiment: str = "default"
    models: bool = True
    datasets: bool = True
    input_examples: bool = True
    every_n_steps: int = 1
    every_n_epochs: int = 1
    max_children: int = 5
    sample_rows: int = 10_000
    tags: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False


_active: dict[str, Options] = {}


def options_of(library: str) -> Options | None:
    """The options a library is watched with, None when it is not."""
    return _active.get(library)


def watch_with(library: str, options: Options | None) -> None:
    """Watch a library with these options; None: no longer."""
    if options is None:
        _active.pop(library, None)
    else:
        _active[library] = options


def is_silent() -> bool:
    """Whether nobody wants to hear of failures."""
    return bool(_active) and all(item.silent for item in _active.values())
