"""The few requests of the Kubernetes API that jobs need, over loopback; a job's container is a process of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


class FakeCluster:
    """Jobs and their pods. ``lose`` takes a pod away as a dying node does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, dict[str, Any]] = {}
        self.submitted: list[dict[str, Any]] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.refusal = ""
        self.waiting_reason = ""
        self.slow_s = 0.0
        self._lock = threading.Lock()

    def create(self, job: dict[str, Any]) -> tuple[int, Any]:
        name = job["metadata"]["name"]
        time.sleep(self.slow_s)
        with self._lock:
            if self.refusal:
                return 403, {"kind": "Status", "message": self.refusal}
            if name in self.jobs:
                return 409, {"kind": "Status", "message": f'jobs.batch "{name}" already exists'}
            self.submitted.append(job)
            self.jobs[name] = job
            if not self.waiting_reason:
                self.processes[name] = self._run(name, job)
        return 201, job

    def _run(self, name: str, job: dict[str, Any]) -> subprocess.Popen[bytes]:
        container = job["spec"]["template"]["spec"]["containers"][0]
        message = container["terminationMessagePath"]
        command = [str(self.folder / f"{name}.message") if part == message else part for part in container["command"]]
        command[0] = sys.executable if command[0] == "python" else command[0]
        variables = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        variables |= {e["name"]: os.environ[e["name"]] for e in container["env"] if "valueFrom" in e and e["name"] in os.environ}
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command, env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **variables}, stdout=log, stderr=log
            )

    def pods(self, selector: str) -> list[dict[str, Any]]:
        with self._lock:
            return [self._pod(name, job) for name, job in self.jobs.items() if _matches(job, selector)]

    def _pod(self, name: str, job: dict[str, Any]) -> dict[str, Any]:
        labels = {**job["spec"]["template"]["metadata"]["labels"], "job-name": name}
        process = self.processes.get(name)
        if process is None:
            state: dict[str, Any] = {"waiting": {"reason": self.waiting_reason, "message": "no such image"}}
            phase = "Pending"
        elif process.poll() is None:
            state, phase = {"running": {}}, "Running"
        else:
            code = process.returncode
            file = self.folder / f"{name}.message"
            message = file.read_text() if file.is_file() else ""
            exit_code = code if code >= 0 else 128 - code
            state = {"terminated": {"exitCode": exit_code, "reason": "Completed" if code == 0 else "Error", "message": message}}
            phase = "Succeeded" if code == 0 else "Failed"
        return {
            "metadata": {"name": f"{name}-x1y2z", "labels": labels},
            "status": {"phase": phase, "containerStatuses": [{"state": state}]},
        }

    def listed(self, selector: str) -> list[dict[str, Any]]:
        with self._lock:
            return [job for job in self.jobs.values() if _matches(job, selector)]

    def log(self, pod: str) -> bytes:
        file = self.folder / f"{pod.removesuffix('-x1y2z')}.log"
        return file.read_bytes() if file.is_file() else b""

    def delete(self, name: str) -> tuple[int, Any]:
        with self._lock:
            if self.jobs.pop(name, None) is None:
                return 404, {"kind": "Status", "message": "not found"}
            process = self.processes.pop(name, None)
        if process is not None:
            if process.poll() is None:
                process.terminate()
            process.wait(timeout=20)
        return 200, {"kind": "Status", "status": "Success"}

    def lose(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()


def _matches(job: dict[str, Any], selector: str) -> bool:
    labels = job["metadata"]["labels"]
    return all(labels.get(part.partition("=")[0]) == part.partition("=")[2] for part in selector.split(",") if part)


@contextmanager
def fake_kubernetes() -> Iterator[tuple[str, FakeCluster]]:
    """The address of a cluster that runs containers as processes here, and the cluster."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = FakeCluster(Path(folder))

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(*cluster.create(body))

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                selector = parse_qs(parts.query).get("labelSelector", [""])[0]
                if parts.path.endswith("/log"):
                    self._raw(200, cluster.log(parts.path.split("/")[-2]))
                else:
                    self._answer(200, {"items": cluster.pods(selector) if parts.path.endswith("/pods") else cluster.listed(selector)})

            def do_DELETE(self) -> None:
                self._answer(*cluster.delete(urlsplit(self.path).path.split("/")[-1]))

            def log_message(self, *_: Any) -> None:
                pass

            def _answer(self, code: int, body: Any) -> None:
                self._raw(code, json.dumps(body).encode())

            def _raw(self, code: int, data: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", cluster
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            for name in list(cluster.jobs):
                cluster.delete(name)
