"""kill -9 at random instants: whatever was acknowledged is there, and the audit chain holds."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from rung.app.local import local_transport
from rung.core.settings import load_settings
from rung.governance.records import ListProjects, VerifyAudit

WRITER = """
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from rung.app.local import local_transport
from rung.core.settings import load_settings
from rung.governance.records import CreateProject

transport = local_transport(load_settings(flags={"home": sys.argv[1]}))

def write(n):
    transport.call(CreateProject(name=f"{sys.argv[2]}-{n}"))
    os.write(1, f"{sys.argv[2]}-{n}\\n".encode())  # one call, so that threads do not write into each other's lines

with ThreadPoolExecutor(4) as pool:
    list(pool.map(write, range(100_000)))
"""


def test_no_acknowledged_write_is_lost_to_kill_9(tmp_path: Path) -> None:
    home, chance = tmp_path / "home", random.Random(7)
    acknowledged: set[str] = set()
    for attempt in range(4):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(home), f"w{attempt}"], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        acknowledged |= {process.stdout.readline().strip() for _ in range(3)}
        time.sleep(chance.uniform(0.02, 0.4))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=30)
        acknowledged |= {line for line in rest.splitlines()[:-1] if line}
    transport = local_transport(load_settings(tmp_path, environ={}, flags={"home": str(home)}))
    kept = {project.name for project in transport.call(ListProjects())}
    report = transport.call(VerifyAudit())
    transport.close()
    assert len(acknowledged) > 4
    assert acknowledged <= kept
    assert report.intact
    assert report.events == len(kept) - 1, "one audit event for each project but the first"
