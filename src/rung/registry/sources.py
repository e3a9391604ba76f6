"""Addresses of logged models: what a source says, and which sources are refused because they reach where nobody was let."""

from __future__ import annotations

import re
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from rung.core.errors import Invalid
from rung.core.records import Record

_RUN = re.compile(r"^[0-9a-f]{32}$")
_LOGGED = re.compile(r"^m-[0-9a-f]{32}$")
_PROXY = "/api/2.0/mlflow-artifacts/artifacts"


class Source(Record):
    """What an address names: the files of an owner below a prefix, another version of a model, or a place elsewhere."""

    owner: str = ""
    prefix: str = ""
    model: str = ""
    number: int | None = None
    alias: str = ""
    elsewhere: bool = False


def parsed(source: str) -> Source:
    """What a source says.

    Raises:
        Invalid: a path of this machine, a path that climbs by ``..``, or an address that cannot be read.
    """
    plain = _unquoted(source)
    if any(part == ".." for part in re.split(r"[/\\]", plain)) or any(ord(character) < 32 for character in plain):  # noqa: PLR2004
        _refuse(source, "It must not climb out of its folder, nor hold control characters.")
    parts = urlsplit(source)
    scheme, path = parts.scheme.lower(), _unquoted(parts.path)
    if len(scheme) < 2 or scheme == "file" or parts.fragment or parts.query:  # noqa: PLR2004 - a drive letter is no scheme
        _refuse(source, "A path of this machine, or an address with a query, names no model here.")
    if scheme in {"runs", "models"}:
        if parts.netloc:
            _refuse(source, f"Write {scheme}:/…, with one slash.")
        return _of_run(source, path.strip("/")) if scheme == "runs" else _of_model(source, path.strip("/"))
    if scheme == "mlflow-artifacts":
        return _proxied(path.strip("/"))
    if scheme in {"http", "https"} and path.startswith(_PROXY + "/"):
        return _proxied(path.removeprefix(_PROXY).strip("/"))
    return Source(elsewhere=True)


def _of_run(source: str, path: str) -> Source:
    run, _, inside = path.partition("/")
    if not _RUN.match(run):
        _refuse(source, "After runs:/ comes the id of a run.")
    return Source(owner=run, prefix=inside)


def _of_model(source: str, path: str) -> Source:
    head, _, rest = path.partition("/")
    if _LOGGED.match(head):
        return Source(owner=head, prefix=rest)
    if rest.isdecimal() and len(rest) < 10:  # noqa: PLR2004 - as far as numbers reach
        return Source(model=head, number=int(rest))
    model, at, alias = head.rpartition("@")
    if at and not rest:
        return Source(model=model, alias=alias)
    return _refuse(source, "Name a logged model (models:/m-…) or a version (models:/name/3).")


def _proxied(path: str) -> Source:
    """``<experiment>/<run>/artifacts/…`` or ``<experiment>/models/m-<id>/artifacts/…``; anything else lies in the proxy's own tree."""
    parts = path.split("/")
    if len(parts) >= 4 and parts[1] == "models" and _LOGGED.match(parts[2]) and parts[3] == "artifacts":  # noqa: PLR2004
        return Source(owner=parts[2], prefix="/".join(parts[4:]))
    if len(parts) >= 3 and _RUN.match(parts[1]) and parts[2] == "artifacts":  # noqa: PLR2004
        return Source(owner=parts[1], prefix="/".join(parts[3:]))
    return Source(owner="files", prefix=path)


def check_owner(source: str, found: Source, run_id: str | None, logged_model: str | None) -> None:
    """Raise Invalid where files belong to a run or a logged model other than the one a version is said to come from."""
    if not found.owner or found.model or found.elsewhere:
        return
    if found.owner.startswith("m-"):
        if logged_model is not None and found.owner == f"m-{logged_model}":
            return
        _refuse(source, "It is not of the logged model given as model_id.")
    if run_id is not None and found.owner == run_id:
        return
    _refuse(source, "It is not of the run given as run_id.")


def _unquoted(text: str) -> str:
    for _ in range(10):
        plain = unquote(text)
        if plain == text:
            return text
        text = plain
    return _refuse(text, "It is quoted too many times.")


def _refuse(source: str, why: str) -> NoReturn:
    raise Invalid(
        f"Invalid model version source: {source[:300]!r}. {why}",
        code="registry.bad_source",
        hint="Send runs:/RUN/path with its run_id, models:/m-ID with its model_id, models:/name/NUMBER, or an address elsewhere.",
    )
