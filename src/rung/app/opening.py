"""Opening a platform: folders, database, schema, and on the very first start an owner with a token shown once."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from typing import TypeVar

import rung
from rung.app.platform import Caller, Platform
from rung.core.clock import Clock, SystemClock
from rung.core.errors import Unavailable
from rung.core.files import write_whole
from rung.core.ids import new_id
from rung.core.requests import import_area
from rung.core.settings import Settings
from rung.governance.operations import new_token
from rung.governance.records import NewToken, Principal, PrincipalKind, Project
from rung.governance.store import GovernanceStore
from rung.storage.blobs import BlobStore, open_blobs
from rung.storage.database import Database, sqlite_url
from rung.storage.migrate import lay_out, migrate
from rung.storage.scope import Scope

TOKEN_FILE = "token"  # noqa: S105 - the name of a file
P = TypeVar("P", bound=Platform)
_FIRST_TOKEN = timedelta(days=365)


def open_platform(settings: Settings, clock: Clock | None = None) -> tuple[Platform, NewToken | None]:
    """The platform of these settings, and the owner's token if this start was the first.

    The token is also left in the home as ``token``, mode 0600, where the embedded client finds it.

    Raises:
        Unavailable: the home cannot be written, or the database does not answer.
        Conflict: the database was written by a newer Rung.
    """
    platform = opened(settings, Platform, clock)
    return platform, _bootstrap(platform)


def opened(settings: Settings, kind: Callable[[Settings, Database, BlobStore, Clock], P], clock: Clock | None = None) -> P:
    """A platform over the folders and the database of these settings, laid out if need be. Raises as ``open_platform`` does."""
    home = settings.home_path
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Unavailable(
            f"The home {home} cannot be made: {error.strerror}.", code="home.unwritable", hint="Choose another with RUNG_HOME."
        ) from None
    clock = clock or SystemClock()
    if not settings.storage.database:
        lay_out(home / "rung.db")
    database = Database(settings.storage.database or sqlite_url(home / "rung.db"))
    migrate(database, clock.now())
    return kind(settings, database, open_blobs(settings.storage.blobs or f"file://{home / 'blobs'}"), clock)


def import_operations() -> None:
    """Import every area's handlers, so that the table of operations is whole."""
    for name in areas_with("operations"):
        import_area(name)


def areas_with(module: str) -> list[str]:
    """Areas that have a module of that name."""
    names = [item.name for item in pkgutil.iter_modules(rung.__path__) if item.ispkg]
    return [name for name in names if find_spec(f"rung.{name}.{module}")]


def _bootstrap(platform: Platform) -> NewToken | None:
    system = Caller(principal="0" * 32, name="system", kind="service", project="0" * 32, role="owner")
    if platform.database.read(lambda connection: GovernanceStore(connection).find_principal("engine")):
        return None
    return platform.scope(system).write(lambda scope: _first_rows(scope, platform.settings.project))


def _first_rows(scope: Scope, name: str) -> NewToken | None:
    store = GovernanceStore(scope.connection)
    if store.find_principal("engine"):
        return None  # another process was first
    project = Project(id=new_id(), name=name, created_at=scope.now)
    store.add_project(project)
    kinds: dict[str, PrincipalKind] = {"owner": "user", "engine": "service"}
    for label, kind in kinds.items():
        principal = Principal(id=new_id(), name=label, kind=kind, created_at=scope.now)
        store.add_principal(principal)
        store.set_role(project.id, principal.id, "owner" if label == "owner" else "service")
    made = new_token(store, store.principal("owner"), project.id, scope.now, label="first start", expires_at=scope.now + _FIRST_TOKEN)
    # before the commit: whoever finds an owner finds the token, and a kill in between leaves none that nobody holds
    write_whole(scope.home / TOKEN_FILE, f"{made.secret}\n".encode())
    return made
