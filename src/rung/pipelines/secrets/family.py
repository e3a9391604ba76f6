"""The protocol of places where secrets lie, the family, how one is looked up, and how texts are kept free of them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from rung.core.errors import Invalid, NotFound, RungError
from rung.core.families import Family
from rung.core.settings import Settings

MASK = "********"
PREFIX = "RUNG_SECRET_"  # where an engine puts values for a process that cannot look them up itself
_SHORTEST = 4  # a shorter value would blot out half of every log, and guards nothing


class SecretSource(Protocol):
    """One kind of place. In rung.toml it is written before the colon: ``db = "env:DB_PASSWORD"``."""

    def read(self, where: str, folder: Path) -> str:
        """The secret; ``where`` is what stands behind the colon, ``folder`` the project's. Raises NotFound."""
        ...


SECRET_SOURCES: Family[SecretSource] = Family("secret_sources", "rung.pipelines.secrets")


def secret_value(name: str, settings: Settings, *, step: str = "") -> str:
    """A secret's value, read where rung.toml says that it lies.

    Raises:
        NotFound: rung.toml names no such secret, or it is not where it should be. Invalid: the reference is none.
    """
    asker = f"Step {step!r} needs the secret {name!r}" if step else f"The secret {name!r} is needed"
    reference = settings.secrets.get(name)
    if reference is None:
        known = ", ".join(settings.secrets) or "none"
        raise NotFound(
            f"{asker}, which rung.toml does not name.",
            code="pipelines.no_secret",
            hint=f'Add it below [secrets]: {name} = "env:{_variable(name)}". Known: {known}.',
        )
    kind, colon, where = reference.partition(":")
    if not colon or not where:
        # the text is not repeated: it may be the secret itself
        raise Invalid(
            f"{asker}, but what rung.toml says of it is no reference.",
            code="pipelines.bad_secret",
            hint=f'Write where it lies, never what it is: {name} = "env:{_variable(name)}" or "file:PATH".',
        )
    try:
        found = SECRET_SOURCES.get(kind).read(where, Path(settings.folder or "."))
    except RungError as error:
        raise NotFound(f"{asker}, but {_lowered(error.message)}", code="pipelines.no_secret", hint=error.hint) from None
    if not found:
        raise NotFound(f"{asker}, but it is empty at {reference}.", code="pipelines.no_secret", hint="Give it a value.")
    return found


def secret_values(names: Iterable[str], settings: Settings, *, step: str = "") -> dict[str, str]:
    """Values of several secrets. Raises NotFound for the first that is missing."""
    return {name: secret_value(name, settings, step=step) for name in dict.fromkeys(names)}


class Mask:
    """Blots secrets out of texts: each as it is, line by line, quoted for an address or JSON, and in base 64."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        held = {form for value in values for form in forms(value)}
        found = "|".join(re.escape(form) for form in sorted(held, key=len, reverse=True))
        self._pattern = re.compile(found) if found else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def masked(text: str, values: Iterable[str]) -> str:
    """A text with every secret blotted out.

    >>> masked("login with hunter22", ["hunter22"])
    'login with ********'
    """
    return Mask(values)(text)


def forms(value: str) -> tuple[str, ...]:
    """How a secret may come to stand in a text: as it is, line by line, quoted for an address or JSON, in base 64."""
    lines = [line.strip() for line in value.splitlines()]
    quoted = (quote(value, safe=""), json.dumps(value)[1:-1], base64.b64encode(value.encode()).decode().rstrip("="))
    found = (value, value.strip(), *(lines if len(lines) > 1 else ()), *quoted)
    return tuple(dict.fromkeys(form for form in found if len(form) >= _SHORTEST))


def _variable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
