"""``rung up`` and ``rung server``: open the platform, start the engine, say where everything is, serve."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from rung.app.opening import TOKEN_FILE, open_platform
from rung.core.errors import Denied, Invalid
from rung.core.files import write_whole
from rung.core.settings import Settings
from rung.engine.loop import Engine
from rung.server.app import build
from rung.server.calls import calls
from rung.server.run import LOOPBACK, listening_socket, serve

ADDRESS_FILE = "address"


def run(
    settings: Settings, *, port: int | None, engine: bool, allow_remote: bool, say: Callable[[str], object],
    no_auth: bool = False,
) -> None:  # fmt: skip
    """Serve a platform until a signal ends it.

    Raises:
        Conflict: the port is taken, or the database was written by a newer Rung.
        Unavailable: the home cannot be used.
        Invalid: it should be open without tokens on an address that others can reach.
    """
    host = settings.server.host
    if no_auth and (allow_remote or host not in LOOPBACK):
        raise Invalid(
            f"--no-auth is for loopback only, not for {host}{' behind a proxy' if allow_remote else ''}.",
            code="server.open_to_others", hint="Leave --no-auth out, or listen on 127.0.0.1.",
        )  # fmt: skip
    with ExitStack() as stack:
        listener = listening_socket(host, settings.server.port if port is None else port, allow_remote=allow_remote)
        stack.callback(listener.close)
        platform, first = open_platform(settings)
        stack.callback(platform.close)
        address = f"http://{host}:{listener.getsockname()[1]}"
        note = settings.home_path / ADDRESS_FILE
        write_whole(note, address.encode())
        stack.callback(_leave, note, address)
        app, stopped = build(platform, open_as=_token(settings) if no_auth else "")
        stack.callback(stopped)
        if engine:
            background = Engine(platform)
            background.start()
            stack.callback(background.stop)
        for line in banner(settings, address, first_token=first.secret if first else None, no_auth=no_auth):
            say(line)
        grpc = calls(platform, stack, open_as=_token(settings) if no_auth else "", say=say)
        serve(app, listener, ready=grpc.start if grpc else None, drain_s=settings.serving.drain_s)


def _leave(note: Path, address: str) -> None:
    """Take the address back, unless another server of the home has written its own."""
    with suppress(FileNotFoundError):
        if note.read_text("utf-8") == address:
            note.unlink()


def banner(settings: Settings, address: str, *, first_token: str | None, no_auth: bool = False) -> list[str]:
    """What a person needs to know when the server has started."""
    token = first_token or _token(settings)
    lines = [f"Rung is up at {address}", f"  log in    {address}/login?token={token}"]
    if first_token:
        lines += [f"  token     {first_token}", f"            the owner's, shown this once; kept in {settings.home_path / TOKEN_FILE}"]
    if no_auth:
        lines += ["  WARNING   --no-auth: everybody who can log in to this machine may read and change everything here, as the owner."]
    lines += [f"  clients   export RUNG_URL={address} RUNG_TOKEN=…", '            or: eval "$(rung env)"', "  stop      Ctrl-C"]
    return lines


def exports(settings: Settings) -> dict[str, str]:
    """Environment variables that point other clients at the server of this home. Raises Denied without a token."""
    note = settings.home_path / ADDRESS_FILE
    held = note.read_text("utf-8").strip() if note.is_file() else f"http://{settings.server.host}:{settings.server.port}"
    address = settings.url or held
    token = settings.token or _token(settings)
    return {"RUNG_URL": address, "RUNG_TOKEN": token, "MLFLOW_TRACKING_URI": address, "MLFLOW_TRACKING_TOKEN": token}


def _token(settings: Settings) -> str:
    try:
        return (settings.home_path / TOKEN_FILE).read_text("utf-8").strip()
    except OSError:
        raise Denied(
            f"There is no token in {settings.home_path}.", code="governance.no_token_file", hint="Set RUNG_TOKEN, or start `rung up` once."
        ) from None
