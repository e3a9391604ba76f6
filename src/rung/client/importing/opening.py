"""Opens what a URI names: a server, a database, a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rung.client.importing.source import Source
from rung.core.errors import Invalid

_POSTGRESQL = {"postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg"}


def open_source(uri: str, artifacts: Path | None, environment: Mapping[str, str]) -> Source:
    """The source behind a URI.

    Args:
        uri: ``http(s)://server``, ``sqlite:///file.db``, ``postgresql://…``, a ``.db`` file, or a folder ``mlruns``.
        artifacts: the folder of artifacts, where the URI's own is not on this machine.
        environment: where MLFLOW_TRACKING_TOKEN, _USERNAME and _PASSWORD are looked for.

    Raises:
        Invalid: the URI names none of these. NotFound, Denied, Unavailable: it cannot be opened.
    """
    scheme = urlsplit(uri).scheme
    if scheme in {"http", "https"}:
        from rung.client.importing.rest import RestSource  # noqa: PLC0415 - loads httpx

        token, user, password = (environment.get(f"MLFLOW_TRACKING_{name}", "") for name in ("TOKEN", "USERNAME", "PASSWORD"))
        return RestSource(uri, token=token, user=user, password=password, destination=artifacts)
    if scheme in _POSTGRESQL or scheme == "sqlite":
        from rung.client.importing.database import DatabaseSource  # noqa: PLC0415 - only where it is asked for

        return DatabaseSource(uri.removeprefix("sqlite:///") if scheme == "sqlite" else uri, artifacts)
    if scheme and scheme != "file":
        raise Invalid(
            f"{uri} is nothing that is imported from.", code="import.bad_uri",
            hint="Name an MLflow server (http://…), its database (sqlite:///mlflow.db, postgresql://…), or a folder mlruns.",
        )  # fmt: skip
    path = Path(unquote(urlsplit(uri).path) if scheme else uri)
    if path.is_file():
        from rung.client.importing.database import DatabaseSource  # noqa: PLC0415 - see above

        return DatabaseSource(str(path), artifacts)
    from rung.client.importing.folder import FolderSource  # noqa: PLC0415 - loads PyYAML

    return FolderSource(path, artifacts)
