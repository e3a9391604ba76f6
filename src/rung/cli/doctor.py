"""``rung doctor``: what is wrong with this installation, and how to mend it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from rung.cli.frame import EXIT_FAILURE, settings, show, state, table, verb

_EXTRAS = {
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "onnx": "onnxruntime",
    "torch": "torch",
    "ray": "ray",
    "dask": "dask",
    "s3": "obstore",
    "postgres": "psycopg",
    "grpc": "grpc",
    "explain": "shap",
    "kafka": "confluent_kafka",
    "sql": "duckdb",
    "tune": "optuna",
}
_LITTLE_GIB, _SKEW_S = 1.0, 120.0
_CORE = ("sqlalchemy", "msgspec", "polars", "pyarrow", "numpy", "scikit-learn", "skops", "starlette", "uvicorn")


@click.command("doctor", short_help="Check this installation and say how to mend it.")
@verb
def command() -> None:
    """Check home, database, schema, blobs, engine, clock, disk and libraries; each fault comes with its remedy.

    \b
    Example: rung doctor
    """
    held = settings()
    checks: list[dict[str, str]] = []
    for name, check in _checks(held).items():
        try:
            status, finding, remedy = check()
        except Exception as error:
            status, finding, remedy = "fault", f"{type(error).__name__}: {error}", getattr(error, "hint", None) or "See the message."
        checks.append({"check": name, "status": status, "finding": finding, "remedy": remedy})
    if state().json:
        show(checks)
    else:
        table(("check", "status", "finding", "remedy"), [tuple(item.values()) for item in checks])
    if any(item["status"] == "fault" for item in checks):
        sys.exit(EXIT_FAILURE)


def _checks(held: Any) -> dict[str, Callable[[], tuple[str, str, str]]]:
    checks = {"python": _python, "libraries": _libraries, "extras": _extras, "compiled part": _compiled}
    if held.url:
        return checks | {"server": lambda: _server(held)}
    local = {"home": _home, "disk": _disk, "database": _database, "blobs": _blobs, "clock": _clock, "engine": _engine}
    return checks | {name: (lambda check=check: check(held)) for name, check in local.items()}


def _python() -> tuple[str, str, str]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return ("ok", version, "") if sys.version_info >= (3, 11) else ("fault", version, "Use Python 3.11 or later.")


def _libraries() -> tuple[str, str, str]:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - only the doctor asks

    found, missing = [], []
    for name in _CORE:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return ("fault", "missing: " + ", ".join(missing), "pip install rung") if missing else ("ok", ", ".join(found), "")


def _extras() -> tuple[str, str, str]:
    from importlib.util import find_spec  # noqa: PLC0415 - see _libraries

    here = [extra for extra, module in _EXTRAS.items() if find_spec(module)]
    gone = [extra for extra in _EXTRAS if extra not in here]
    return "ok", f"installed: {', '.join(here) or 'none'}", f"pip install 'rung[{','.join(gone)}]' adds what is missing" if gone else ""


def _compiled() -> tuple[str, str, str]:
    from rung.stats.kernel import KERNEL  # noqa: PLC0415 - see _libraries

    if KERNEL is not None:
        return "ok", "there: trees and tables of numbers are scored by it", ""
    return "note", "not built here: models are scored by slower engines", "Install rung again where a C compiler is at hand."


def _home(held: Any) -> tuple[str, str, str]:
    import os  # noqa: PLC0415 - see _libraries

    home = held.home_path
    if not home.exists():
        return "note", f"{home} does not exist yet", "`rung init` or `rung up` makes it."
    writable = os.access(home, os.W_OK | os.X_OK)
    mode = home.stat().st_mode & 0o777
    if not writable:
        return "fault", f"{home} is not writable", f"chmod u+rwx {home}"
    return ("note" if mode & 0o077 else "ok"), f"{home}, mode {mode:o}", f"chmod 700 {home}" if mode & 0o077 else ""


def _disk(held: Any) -> tuple[str, str, str]:
    import shutil  # noqa: PLC0415 - see _libraries

    place = next(path for path in (held.home_path, *held.home_path.parents) if path.exists())
    free = shutil.disk_usage(place).free / 2**30
    return ("note" if free < _LITTLE_GIB else "ok"), f"{free:.1f} GiB free", "Free some space." if free < _LITTLE_GIB else ""


def _database(held: Any) -> tuple[str, str, str]:
    from rung.storage.database import Database, sqlite_url  # noqa: PLC0415 - the embedded platform only where it is checked
    from rung.storage.migrate import APPLIED, known  # noqa: PLC0415

    url = held.storage.database or sqlite_url(held.home_path / "rung.db")
    if url.startswith("sqlite") and not (held.home_path / "rung.db").exists() and not held.storage.database:
        return "note", "there is no database yet", "`rung init` or `rung up` makes it."
    database = Database(url)
    try:
        newest = database.read(lambda connection: max((row.number for row in connection.execute(APPLIED.select())), default=0))
    finally:
        database.close()
    ours = known()[-1].number
    if newest > ours:
        return "fault", f"schema {newest}, this Rung knows {ours}", "Upgrade Rung."
    return (
        ("ok" if newest == ours else "note"),
        f"{database.dialect}, schema {newest} of {ours}",
        "" if newest == ours else "`rung up` migrates.",
    )


def _blobs(held: Any) -> tuple[str, str, str]:
    import os  # noqa: PLC0415 - see _libraries

    if held.storage.blobs and not held.storage.blobs.startswith("file://"):
        from rung.storage.blobs import open_blobs  # noqa: PLC0415 - see _database

        first = next(iter(open_blobs(held.storage.blobs).list()), None)  # what goes wrong names its own remedy
        return "ok", f"{held.storage.blobs.partition('?')[0]} answers{'' if first else ', and holds nothing yet'}", ""
    folder = held.home_path / "blobs"
    if not folder.exists():
        return "note", "there are no blobs yet", ""
    return ("ok", str(folder), "") if os.access(folder, os.W_OK) else ("fault", f"{folder} is not writable", f"chmod u+rwx {folder}")


def _clock(held: Any) -> tuple[str, str, str]:
    import time  # noqa: PLC0415 - see _libraries

    path = held.home_path / "rung.db"
    if not path.exists():
        return "ok", "nothing to compare with", ""
    ahead = path.stat().st_mtime - time.time()
    if ahead > _SKEW_S:
        return "fault", f"the database was written {ahead:.0f} s in the future", "Set this machine's clock."
    return "ok", "not behind what was written here", ""


def _engine(held: Any) -> tuple[str, str, str]:
    from rung.core.clock import SystemClock  # noqa: PLC0415 - see _database
    from rung.storage.database import Database, sqlite_url  # noqa: PLC0415
    from rung.storage.outbox import waiting  # noqa: PLC0415

    if not held.storage.database and not (held.home_path / "rung.db").exists():
        return "note", "there is no database yet", "`rung init` or `rung up` makes it."
    database = Database(held.storage.database or sqlite_url(held.home_path / "rung.db"))
    try:
        left = len(database.read(lambda connection: waiting(connection, SystemClock().now(), 10_000)))
    finally:
        database.close()
    return ("note" if left else "ok"), f"{left} events wait for delivery", "`rung up` or `rung worker` delivers them." if left else ""


def _server(held: Any) -> tuple[str, str, str]:
    from rung.cli.frame import client  # noqa: PLC0415 - only with a server

    who = client().governance.who_am_i()
    return "ok", f"{held.url} answers {who.principal.name} in {who.project.name}", ""
