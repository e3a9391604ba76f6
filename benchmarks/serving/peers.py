"""The peers: how each is installed, given the same two models, started, and asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent / "peer_servers"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Peer:
    """One way to serve. ``ratio`` is the least factor by which our CPU a request of one boosted row should be smaller."""

    name: str
    venv: str
    wishes: tuple[str, ...]
    form: str
    path: str
    start: Callable[[Path, str, int], Started]
    ratios: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """A command that serves, and what its environment needs."""

    command: list[str]
    environ: dict[str, str] = field(default_factory=dict)


def payload(form: str, rows: int, columns: int = 30) -> bytes:
    """A request body in a peer's form."""
    data = [[round((row * 31 + col * 17) % 97 / 9.7 - 5 + 1e-9 * col, 12) for col in range(columns)] for row in range(rows)]
    if form == "oip":
        flat = [value for row in data for value in row]
        return json.dumps({"inputs": [{"name": "input-0", "shape": [rows, columns], "datatype": "FP64", "data": flat}]}).encode()
    if form == "split":
        return json.dumps({"dataframe_split": {"columns": [f"f{col}" for col in range(columns)], "data": data}}).encode()
    return json.dumps({form: data}).encode()


def python_of(peer: Peer, venvs: Path) -> Path:
    """The interpreter of a peer's own environment, which is made when it is missing."""
    python = venvs / peer.venv / "bin" / "python"
    if not python.exists():
        subprocess.run(["/usr/bin/python3" if peer.venv == "triton" else sys.executable, "-m", "venv", str(venvs / peer.venv)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.wishes], check=True)
    return python


def prepared(peer: Peer, venvs: Path, folder: Path) -> Path:
    """A folder with the two models, fitted by the peer's scikit-learn."""
    place = folder / peer.venv
    if not place.exists():
        subprocess.run([str(python_of(peer, venvs)), str(HERE / "model.py"), str(place)], check=True, env=environ(peer, venvs))
    return place


def environ(peer: Peer, venvs: Path) -> dict[str, str]:
    """The environment of a peer's processes: its own programs first, one native thread as in ours."""
    held = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"} and not key.startswith("RUNG_")}
    quiet = {"BENTOML_DO_NOT_TRACK": "true", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
    return held | _ONE_THREAD | quiet | {"PATH": f"{venvs / peer.venv / 'bin'}:{os.environ['PATH']}"}


def _mlserver(workers: int, *, batching: bool = False) -> Callable[[Path, str, int], Started]:
    def start(place: Path, model: str, port: int) -> Started:
        folder = place / f"mlserver-{model}-{workers}-{batching}"
        folder.mkdir(exist_ok=True)
        settings: dict[str, object] = {
            "name": "m", "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(place / model / "model.joblib"), "version": "v1"},
        }  # fmt: skip
        if batching:
            settings |= {"max_batch_size": 64, "max_batch_time": 0.002}
        (folder / "model-settings.json").write_text(json.dumps(settings))
        ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
        (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "debug": False, "parallel_workers": workers, **ports}))
        return Started(["mlserver", "start", str(folder)])

    return start


def _script(name: str) -> Callable[[Path, str, int], Started]:
    def start(place: Path, model: str, port: int) -> Started:
        return Started(["python", str(HERE / name), str(place / model / "model.joblib"), str(port)], {"PORT": str(port)})

    return start


def _bentoml(place: Path, model: str, port: int) -> Started:
    command = ["bentoml", "serve", "bentoml_service:Scores", "--host", "127.0.0.1", "--port", str(port), "--working-dir", str(HERE)]
    return Started(command, {"MODEL": str(place / model / "model.joblib"), "BENTOML_HOME": str(place / "bento")})


def _mlflow(*extra: str) -> Callable[[Path, str, int], Started]:
    def start(place: Path, model: str, port: int) -> Started:
        saved = place / f"mlflow-{model}-{len(extra)}"
        script = f"python {HERE / 'mlflow_model.py'} {place / model / 'model.joblib'} {saved} {' '.join(extra)}"
        serve = f"mlflow models serve -m {saved} --host 127.0.0.1 --port {port} --env-manager local"
        return Started(["sh", "-c", f"test -d {saved} || {script} && exec {serve}"])

    return start


def _triton(place: Path, model: str, port: int) -> Started:
    joblib = str(place / model / "model.joblib")
    return Started(["python", str(HERE / "triton_start.py"), joblib, str(port), str(place / f"triton-{model}")])


_SKLEARN = "scikit-learn==1.6.1"
_MLSERVER = ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop<0.22", _SKLEARN)
_TRITON = ("nvidia-pytriton==0.7.0", "numpy<2", "joblib", _SKLEARN)
_OIP = "/v2/models/m/infer"
PEERS = (
    Peer("MLServer, no workers", "mlserver", _MLSERVER, "oip", _OIP, _mlserver(0), {"hgb": 15, "lr": 8, "hgb-1000": 1.6}),
    Peer("MLServer, default", "mlserver", _MLSERVER, "oip", _OIP, _mlserver(1), {"hgb": 35}),
    Peer("MLServer, batching", "mlserver", _MLSERVER, "oip", _OIP, _mlserver(0, batching=True), {"hgb": 6}),
    Peer("KServe", "kserve", ("kserve==0.21.0", _SKLEARN), "oip", _OIP, _script("kserve_server.py"), {"hgb": 15}),
    Peer("LitServe", "litserve", ("litserve==0.2.19", _SKLEARN), "oip", "/predict", _script("litserve_server.py"), {"hgb": 25}),
    Peer("BentoML", "bentoml", ("bentoml==1.4.39", _SKLEARN), "data", "/predict", _bentoml, {"hgb": 30}),
    Peer("MLflow", "mlflow", ("mlflow==3.17.2", _SKLEARN), "inputs", "/invocations", _mlflow(), {"hgb": 18}),
    Peer("MLflow, signature", "mlflow", ("mlflow==3.17.2", _SKLEARN), "split", "/invocations", _mlflow("signature"), {"hgb": 70}),
    # its stub wants the interpreter of the distribution: make that environment with /usr/bin/python3 and NumPy 1
    Peer("Triton, Python backend", "triton", _TRITON, "oip", _OIP, _triton, {"hgb": 8}),
    Peer("PyTriton", "triton", _TRITON, "oip", _OIP, _script("pytriton_server.py"), {"hgb": 8}),
)
