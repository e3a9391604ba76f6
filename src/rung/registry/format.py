"""What a model format is: how an estimator becomes files, and files become a scorer without running code from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.families import Family
from rung.core.references import Task

Scorer = Callable[[pl.DataFrame], NDArray[np.float64]]


class Format(Protocol):
    """A member of the family. Formats of lower ``rank`` are asked first whether they accept an estimator."""

    rank: int
    libraries: tuple[str, ...]

    def accepts(self, estimator: Any) -> bool:
        """Whether the estimator can be written."""
        ...

    def save(self, estimator: Any) -> dict[str, bytes]:
        """The estimator as files by name. Equal estimators give equal bytes."""
        ...

    def load(self, files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer of files: P(positive), P(class) as a matrix, or values. Raises Invalid for what is not trusted."""
        ...


FORMATS: Family[Format] = Family("formats", "rung.registry.formats")


def format_for(estimator: Any) -> str:
    """Name of the first format that accepts an estimator. Raises Invalid."""
    for name, item in sorted(FORMATS.items(), key=lambda pair: pair[1].rank):
        if item.accepts(estimator):
            return name
    raise Invalid(
        f"No model format can write a {type(estimator).__name__}.",
        code="registry.no_format",
        hint=f"Known formats: {', '.join(FORMATS.names())}.",
    )


def only_file(files: Mapping[str, bytes], name: str) -> bytes:
    """The bytes of the one file a format writes. Raises Invalid when it is not there."""
    if set(files) != {name}:
        raise Invalid(
            f"A model of this format has the file {name!r}, not {', '.join(sorted(files)) or 'none'}.",
            code="registry.wrong_files",
            hint="Register it with `client.registry.register`.",
        )
    return files[name]
