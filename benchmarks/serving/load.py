"""Load on a server, and what it cost the server: CPU time of its whole process tree by completed request.

CPU time hardly depends on what else the machine does, so ratios of it are what is told; requests by second and latency are read
on a quiet machine only. The server stands on one core, the client on the other.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE, CLIENT_CORE = "0", "1"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Case:
    """One request, sent over and over."""

    url: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def tree(root: int) -> set[int]:
    """A process, what shares its process group, and all their children."""
    family = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            family[int(entry.name)] = (int(fields[1]), int(fields[2]))
    found = {pid for pid, (_, group) in family.items() if group == root} | {root}
    while more := {pid for pid, (parent, _) in family.items() if parent in found} - found:
        found |= more
    return found


def cpu_s(pids: set[int]) -> float:
    """User and system seconds of processes."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def rss_mb(pids: set[int]) -> float:
    """Resident memory of processes, MB; pages they share count once (PSS)."""
    total = 0
    for pid in pids:
        try:
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total / 1024


def load(case: Case, root: int, *, connections: int, seconds: float) -> dict[str, float]:
    """Requests by wrk over kept connections. Raises SystemExit when one is answered otherwise than with success."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(case.body)
        body.flush()
        headers = "\n".join(f"{name}: {value}" for name, value in (("Content-Type", "application/json"), *case.headers))
        command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "30s"]
        command += ["-s", str(Path(__file__).with_name("load.lua")), case.url]
        before = cpu_s(tree(root))
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "BODY": body.name, "HEADERS": headers}
        )
        used = cpu_s(tree(root)) - before
    found = re.search(r"RESULT (.*)", done.stdout)
    if not found:
        raise SystemExit(f"wrk failed on {case.url}: {done.stdout[-300:]}{done.stderr[-300:]}")
    told = {name: float(value) for name, value in (pair.split("=") for pair in found[1].split())}
    if told["errors"]:
        raise SystemExit(f"{case.url}: {told['errors']:.0f} of {told['requests']:.0f} requests failed.")
    return told | {"cpu_us": used / max(1.0, told["requests"]) * 1e6}


def load_grpc(address: str, message: bytes, root: int, *, connections: int, seconds: float, token: str = "") -> dict[str, float]:
    """Unary calls of ModelInfer with bytes made beforehand, one thread a channel."""
    import grpc

    count, ends = [0] * connections, time.perf_counter() + seconds
    metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def ask(place: int) -> None:
        with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            while time.perf_counter() < ends:
                call(message, metadata=metadata)
                count[place] += 1

    before, own = cpu_s(tree(root)), [threading.Thread(target=ask, args=(place,)) for place in range(connections)]
    begun = time.perf_counter()
    for thread in own:
        thread.start()
    for thread in own:
        thread.join()
    used, wall = cpu_s(tree(root)) - before, time.perf_counter() - begun
    return {"requests": float(sum(count)), "rps": sum(count) / wall, "cpu_us": used / max(1, sum(count)) * 1e6}
