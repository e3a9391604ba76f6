"""Secrets in files, as containers and systemd hand them over; one line break at the end does not count."""

from __future__ import annotations

from pathlib import Path

from rung.core.errors import NotFound
from rung.pipelines.secrets.family import SECRET_SOURCES

_LARGEST = 1 << 20


@SECRET_SOURCES.member("file")
class TextFile:
    """``file:PATH``, relative to the project's folder."""

    @staticmethod
    def read(where: str, folder: Path) -> str:
        """What is in the file. Raises NotFound."""
        path = folder / Path(where).expanduser()
        try:
            if path.stat().st_size > _LARGEST:
                raise NotFound(f"The file {path} is too large for a secret.", code="pipelines.no_secret", hint="Name another file.")
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise NotFound(
                f"The file {path} cannot be read: {reason}.", code="pipelines.no_secret", hint="Check the path and its permissions."
            ) from None
        return text.removesuffix("\n").removesuffix("\r")
