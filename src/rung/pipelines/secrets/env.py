"""Secrets in environment variables of the process that runs the step."""

from __future__ import annotations

import os
from pathlib import Path

from rung.core.errors import NotFound
from rung.pipelines.secrets.family import SECRET_SOURCES


@SECRET_SOURCES.member("env")
class Variable:
    """``env:NAME``."""

    @staticmethod
    def read(where: str, folder: Path) -> str:
        """The variable's value. Raises NotFound."""
        if where not in os.environ:
            raise NotFound(
                f"The environment variable {where} is not set.", code="pipelines.no_secret", hint=f"Set {where} where the step runs."
            )
        return os.environ[where]
