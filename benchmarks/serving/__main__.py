"""``python -m benchmarks.serving``: CPU of a request, here and at the peers, with the same models and rows.

Servers stand on one core, the client on the other; passes alternate between them and medians are told. Peers are installed
into ``--venvs`` where they are missing. Needs wrk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.serving import ours
from benchmarks.serving.load import SERVER_CORE, Case, load, load_grpc, rss_mb, tree
from benchmarks.serving.peers import PEERS, Peer, environ, payload, prepared

ROOT = Path(__file__).resolve().parents[2]
ECHO, RUNG, NATIVE = "echo (bare ASGI)", "Rung", "Rung, not compiled"
CASES = {"hgb": ("hgb", 1, 16), "hgb, 1 connection": ("hgb", 1, 1), "hgb, 64 connections": ("hgb", 1, 64), "lr": ("lr", 1, 16), "hgb-1000": ("hgb", 1000, 4)}  # fmt: skip
# what ours has beside: the case whose peers it is compared with, and the deployment
OWN = {"hgb-1000, binary": ("hgb-1000", "hgb"), "not compiled, batched": ("hgb", "native"), "not compiled, unbatched": ("hgb", "single")}


@dataclass
class Server:
    """One running server and what was measured on it."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    peer: Peer | None = None
    token: str = ""
    model: str = "hgb"
    began_s: float = 0.0
    memory_mb: float = 0.0
    found: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def case(self, model: str, rows: int, *, binary: bool = False) -> Case:
        """The request of a case, in this server's form."""
        headers = (("Authorization", f"Bearer {self.token}"),) if self.token else ()
        if self.peer is not None:
            return Case(f"http://127.0.0.1:{self.port}{self.peer.path}", payload(self.peer.form, rows), headers)
        path = "/" if self.name == ECHO else f"/v2/models/{model}/infer"
        body = payload("oip", rows)
        if binary:
            body, head = _binary(rows)
            headers = (*headers, ("Inference-Header-Content-Length", str(head)))
        return Case(f"http://127.0.0.1:{self.port}{path}", body, headers)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS), help="some of them by a part of their name, or none")
    parser.add_argument("--venvs", type=Path, default=ROOT / ".peers" / "bench", help="where the peers are installed")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--markdown", type=Path, help="write the tables here, for a page")
    options = parser.parse_args()
    words = [word for word in options.peers.split(",") if word and word != "none"]
    chosen = [peer for peer in PEERS if any(word in peer.name for word in words)]
    print(_facts(chosen), flush=True)
    with tempfile.TemporaryDirectory(prefix="rung-bench-") as folder:
        rung, native = _ours(RUNG, ours.prepared(Path(folder))), _ours(NATIVE, ours.prepared_native(Path(folder)))
        held = [_echo(), rung, native]
        try:
            held += [server for peer in chosen for server in _peers(peer, options.venvs, Path(folder))]
            for number in range(options.passes):
                for name, (model, rows, connections) in CASES.items():
                    for server in held:
                        if server is native or (
                            server.peer is not None and (server.model != model or (name not in server.peer.ratios and name != "hgb"))
                        ):
                            continue
                        server.found.setdefault(name, []).append(
                            load(server.case(model, rows), server.process.pid, connections=connections, seconds=options.seconds)
                        )
                    # right behind the peers they are compared with: a machine's pace changes within minutes
                    for own, (beside, own_model) in OWN.items():
                        if beside == name:
                            server = native if own_model != "hgb" else rung
                            case = server.case(own_model, rows, binary="binary" in own)
                            server.found.setdefault(own, []).append(
                                load(case, server.process.pid, connections=connections, seconds=options.seconds)
                            )
                print(f"pass {number + 1} of {options.passes}", flush=True)
            grpc = _grpc(held, options)
        finally:
            for server in held:
                _end(server)
    tables = [_first(held), _second(held, grpc)]
    for table in tables:
        print()
        for row in table:
            print("  ".join(cell.ljust(26 if place == 0 else 16) for place, cell in enumerate(row)))
    if options.json:
        told = {server.name + ("" if server.model == "hgb" else ", lr"): server.found for server in held}
        options.json.write_text(json.dumps({"facts": _facts(chosen), "runs": told, "grpc": grpc}, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(_facts(chosen) + "\n\n" + "\n".join(_markdown(table) for table in tables))


def run() -> None:
    """What ``python -m benchmarks`` does with this."""
    subprocess.run([sys.executable, "-m", "benchmarks.serving"], cwd=ROOT, check=True)


def _first(held: list[Server]) -> list[tuple[str, ...]]:
    """Every server beside ours, by case."""
    rung = next(server for server in held if server.name == RUNG)
    rows: list[tuple[str, ...]] = [
        ("server", "case", "CPU us/request", "times ours", "target", "requests/s", "p50 / p99 ms", "RSS MB, start s")
    ]
    for server in held:
        for name, found in server.found.items():
            if name not in CASES:
                continue
            cpu = _median(found, "cpu_us")
            target = server.peer.ratios.get(name) if server.peer else None
            rows.append((
                server.name, name, f"{cpu:.0f}", f"{cpu / _median(rung.found[name], 'cpu_us'):.1f}x", f"{target:g}x" if target else "",
                f"{_median(found, 'rps'):.0f}", f"{_median(found, 'p50_ms'):.2f} / {_median(found, 'p99_ms'):.2f}",
                f"{server.memory_mb:.0f}, {server.began_s:.1f}",
            ))  # fmt: skip
    return rows


def _second(held: list[Server], grpc: dict[str, dict[str, float]]) -> list[tuple[str, ...]]:
    """What ours has beside: binary rows, models that are not compiled, gRPC."""
    rung = next(server for server in held if server.name == RUNG)
    by_name = {(server.name, server.model): server for server in held}
    rows: list[tuple[str, ...]] = [("case", "CPU us/request", "beside", "times ours", "target")]

    def against(case: str, peer: str, of: str, target: str) -> None:
        server = by_name.get((peer, "hgb"))
        cpu = _median((rung if case in rung.found else by_name[NATIVE, "native"]).found[case], "cpu_us")
        if server is None:
            rows.append((case, f"{cpu:.0f}", "", "", target))
        else:
            theirs = _median(server.found[of], "cpu_us")
            rows.append((case, f"{cpu:.0f}", f"{peer}, {of}: {theirs:.0f}", f"{theirs / cpu:.1f}x", target))

    against("hgb-1000, binary", "MLServer, no workers", "hgb-1000", "2.5x")
    against("not compiled, unbatched", "MLServer, no workers", "hgb", "1.7x")
    against("not compiled, batched", "MLServer, no workers", "hgb", "8x")
    against("not compiled, batched", "MLServer, batching", "hgb", "3x")
    echo = by_name[ECHO, "hgb"]
    ours_us, echo_us = _median(rung.found["hgb"], "cpu_us"), _median(echo.found["hgb"], "cpu_us")
    rows.append(("whole server over echo", f"{ours_us:.0f}", f"{echo_us:.0f}", f"{ours_us / echo_us:.2f} of echo", "<= 2"))
    for name, found in grpc.items():
        rows.append(
            (f"gRPC, {name}", f"{found['cpu_us']:.0f}", "", f"{found['cpu_us'] / grpc[RUNG]['cpu_us']:.1f}x", "4x" if name != RUNG else "")
        )
    return rows


def _grpc(held: list[Server], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    from tritonclient.grpc import InferInput, InferRequestedOutput
    from tritonclient.grpc._utils import _get_inference_request

    runs: dict[str, list[dict[str, float]]] = {}
    for server in (server for _ in range(options.passes) for server in held):
        if server.name not in {RUNG, "MLServer, no workers"} or server.model != "hgb":
            continue
        tensor = InferInput("input-0", [1, 30], "FP64")
        tensor.set_data_from_numpy(_rows(1))
        message = _get_inference_request(
            inputs=[tensor], model_name="hgb" if server.peer is None else "m", model_version="", request_id="",
            outputs=[InferRequestedOutput("predict")], sequence_id=0, sequence_start=False, sequence_end=False, priority=0,
            timeout=None, parameters=None,
        ).SerializeToString()  # fmt: skip
        address = f"127.0.0.1:{server.port + 1}"
        told = load_grpc(address, message, server.process.pid, connections=16, seconds=options.seconds, token=server.token)
        runs.setdefault(server.name, []).append(told)
    return {name: {key: _median(found, key) for key in found[0]} for name, found in runs.items()}


def _ours(name: str, place: Path) -> Server:
    port = _free()
    process = _started(ours.command(port), _clean() | {"RUNG_SERVER_GRPC_PORT": str(port + 1)}, place)
    return _ready(Server(name, port, process, token=ours.token(place), model="hgb" if name == RUNG else "native"))


def _echo() -> Server:
    port = _free()
    return _ready(Server(ECHO, port, _started([sys.executable, str(Path(__file__).with_name("echo.py")), str(port)], {}, ROOT)))


def _peers(peer: Peer, venvs: Path, folder: Path) -> list[Server]:
    """The peer with each model it is measured on."""
    place, found = prepared(peer, venvs, folder), []
    for model in ("hgb", *(("lr",) if "lr" in peer.ratios else ())):
        port = _free()
        started = peer.start(place, model, port)
        process = _started(started.command, environ(peer, venvs) | started.environ, place)
        found.append(_ready(Server(peer.name, port, process, peer, model=model)))
    return found


def _started(command: list[str], extra: dict[str, str], place: Path) -> subprocess.Popen[bytes]:
    held = extra or _clean()
    return subprocess.Popen(
        ["taskset", "-c", SERVER_CORE, *command], cwd=place, env=held, start_new_session=True,
        stdout=(place / "server.log").open("ab") if place != ROOT else subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("RUNG_")} | {"OMP_NUM_THREADS": "1"}


def _ready(server: Server) -> Server:
    """The server, once it has answered; how long that took and what it holds then."""
    begun, case = time.perf_counter(), server.case(server.model, 1)
    asked = urllib.request.Request(case.url, case.body, {"content-type": "application/json", **dict(case.headers)})
    while True:
        try:
            urllib.request.urlopen(asked, timeout=30).read()
            break
        except OSError as error:
            if server.process.poll() is not None or time.perf_counter() - begun > 300:
                raise SystemExit(f"{server.name} did not answer: {error}") from None
            time.sleep(0.02)
    server.began_s, server.memory_mb = time.perf_counter() - begun, rss_mb(tree(server.process.pid))
    print(f"{server.name}: first answer after {server.began_s:.1f} s, {server.memory_mb:.0f} MB", flush=True)
    return server


def _end(server: Server) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.process.pid, number)
            server.process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _rows(rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([[round((row * 31 + col * 17) % 97 / 9.7 - 5 + 1e-9 * col, 12) for col in range(30)] for row in range(rows)])


def _binary(rows: int) -> tuple[bytes, int]:
    raw = _rows(rows).tobytes()
    tensor = {"name": "input-0", "shape": [rows, 30], "datatype": "FP64", "parameters": {"binary_data_size": len(raw)}}
    asked = {"name": "predict", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [asked]}).encode()
    return head + raw, len(head)


def _free() -> int:
    """A free port with two free ones behind it: for gRPC, and for the metrics of some."""
    for port in range(21_000 + os.getpid() % 5_000, 32_000, 5):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for number in (port, port + 1, port + 2):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", number))
            return port
    raise SystemExit("There are no three free ports in a row below 32000.")


def _median(found: list[dict[str, float]], key: str) -> float:
    return statistics.median(one[key] for one in found)


def _markdown(rows: list[tuple[str, ...]]) -> str:
    head, *rest = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rest)) + "\n"


def _facts(chosen: list[Peer]) -> str:
    wishes = sorted({wish for peer in chosen for wish in peer.wishes if "==" in wish})
    load_average = os.getloadavg()[0]
    named = ", ".join(f"{name} {version(name)}" for name in ("rung", "scikit-learn", "uvicorn"))
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load_average:.1f}; {named}; beside {', '.join(wishes)}"


if __name__ == "__main__":
    main()
