"""No network for a step's process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import socket, sys
from rung.engine.reproducing import network
if {force!r} == "guard":
    network._unshared = lambda: False
print(network.obey({value!r}))
def told(what):
    try:
        what()
        return "reached"
    except OSError as error:
        return type(error).__name__
print(told(lambda: socket.create_connection(("192.0.2.1", 9), timeout=2)))
print(told(lambda: socket.getaddrinfo("example.org", 80)))
left, right = socket.socketpair()
left.send(b"x")
print(right.recv(1).decode())
with socket.socket() as plug:
    plug.bind(("127.0.0.1", 0))
    plug.listen()
    print(told(lambda: socket.create_connection(plug.getsockname(), timeout=2)))
"""


def _said(value: str, force: str = "") -> list[str]:
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(value=value, force=force)], capture_output=True, text=True, timeout=200, check=True
    )
    return answer.stdout.split()


def test_an_open_network_is_left_as_it_is() -> None:
    assert _said("open")[0] == "open"


def test_without_namespaces_python_code_is_refused() -> None:
    assert _said("blocked", force="guard") == ["guard", "PermissionError", "PermissionError", "x", "PermissionError"]


def test_what_the_platform_needs_stays_open_by_the_guard(tmp_path: Path) -> None:
    import socket

    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        plug.listen()
        port = plug.getsockname()[1]
        script = f"import socket\nfrom rung.engine.reproducing.network import obey\nprint(obey('blocked,127.0.0.1:{port}'))\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)\nprint('reached')"
        answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.split() == ["guard", "reached"]


def test_a_closed_network_reaches_nobody_but_itself() -> None:
    how, *rest = _said("blocked")
    assert how in {"kernel", "guard"}
    assert "reached" not in rest[:2]
    assert rest[2] == "x"
    assert rest[3] == ("reached" if how == "kernel" else "PermissionError")
