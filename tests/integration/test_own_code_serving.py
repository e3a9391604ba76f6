"""Models with code of their own, served: each in a process of its own that is confined, and gone when its deployment is."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import polars as pl
import pytest

from rung.app.local import LocalTransport, local_transport
from rung.client.client import Client
from rung.core.errors import Denied, Invalid, RungError, Unavailable
from rung.core.settings import load_settings
from rung.engine.workers.keeper import children_of
from rung.registry.records import RegisterVersion
from rung.serving.configuring_records import Configure
from rung.serving.live import live_table
from rung.serving.options import DeploymentOptions, RuntimeOptions
from tests.processes import is_alive
from tests.servers import wait_until
from tests.unit.pipelines.wheels import wheel

KEPT = ("model", "format", "files", "signature", "task", "label", "classes", "threshold", "libraries", "input_example")
FRAME = pl.DataFrame({"x": [0.5, 2.0, 4.0]})
SOURCE = """
    import os, socket, subprocess, tempfile
    from pathlib import Path

    class Doing:
        task = "regression"
        classes = ()

        def __init__(self, **what):
            self.files = {name: str(value).encode() for name, value in what.items()}

        def load(self, folder):
            self.what = {file.name: file.read_text() for file in folder.iterdir()}

        def predict(self, frame):
            if "RUNG_ISOLATED" not in os.environ or not len(frame):
                return frame["x"] * 2.0
            if "write" in self.what:
                Path(self.what["write"]).write_text("was here")
            if "read" in self.what:
                Path(self.what["read"]).read_text()
            if "port" in self.what:
                socket.create_connection(("127.0.0.1", int(self.what["port"])), 2).sendall(b"rows")
            if "name" in self.what:
                socket.getaddrinfo(self.what["name"], 80)
            if "program" in self.what:
                subprocess.run([self.what["program"], self.what["argument"]], check=True)
            if "signal" in self.what:
                os.kill(int(self.what["signal"]), 9)
            if "scratch" in self.what:
                with tempfile.TemporaryDirectory() as folder:
                    Path(folder, "a").mkdir()
                    Path(folder, "a", "b").write_text("3")
                    Path(folder, "a", "b").rename(Path(folder, "c"))
                    Path("beside").write_text("here")
                    return frame["x"] * float(Path(folder, "c").read_text())
            if "secret" in self.what:
                return frame["x"] * (0.0 if self.what["secret"] in Path("/proc/self/environ").read_text() else 1.0)
            try:
                import tiny
                return frame["x"] * tiny.RATE
            except ImportError:
                return frame["x"] * 2.0
"""


def _opened(tmp_path: Path, **flags: str) -> LocalTransport:
    settings = load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / "home"), "registry.allow_code": "true", **flags})
    return local_transport(settings)


@pytest.fixture
def doing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "doing.py").write_text(dedent(SOURCE))
    monkeypatch.syspath_prepend(str(tmp_path))
    import doing

    yield doing.Doing
    sys.modules.pop("doing", None)


@pytest.fixture
def transport(tmp_path: Path) -> Iterator[LocalTransport]:
    opened = _opened(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def client(transport: LocalTransport) -> Client:
    return Client(transport)


def _deployed(client: Client, model: Any, **runtime: Any) -> str:
    client.registry.register("m", model, example=FRAME, label="y")
    client.transport.call(_deploy(**runtime))
    return "m"


def _deploy(number: int = 1, **runtime: Any) -> Any:
    from rung.serving.records import Deploy

    return Deploy(deployment="m", model="m", number=number, environment="dev", options=DeploymentOptions(runtime=RuntimeOptions(**runtime)))


def _scores(client: Client) -> list[float]:
    return client.serving.predict("m", FRAME)["score"].to_list()


def _children() -> set[int]:
    """Processes of models that run now; others below this one, such as those that ask for versions of tools, come and go."""
    return {pid for pid in children_of(os.getpid()) if is_alive(pid) and b"rung.serving.isolated.child" in _command(pid)}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _only(before: set[int]) -> set[int]:
    """The one process that is there besides, once those that were superseded have ended."""
    wait_until(lambda: len(_children() - before) == 1, 60, lambda: f"{_children() - before} run")
    return _children() - before


def _gone(pids: set[int]) -> None:
    wait_until(lambda: not any(map(is_alive, pids)), 60, lambda: f"{pids} live on")


def test_the_process_is_gone_after_a_new_revision_and_after_undeploying(client: Client, doing: Any) -> None:
    before = _children()
    _deployed(client, doing())
    assert _scores(client) == [1.0, 4.0, 8.0]
    first = _only(before)
    client.registry.register("m", doing(scratch=1), example=FRAME, label="y")
    client.serving.deploy("m", "m", 2, environment="dev")
    assert _scores(client) == [1.5, 6.0, 12.0]
    _gone(first)
    second = _only(before)
    client.serving.undeploy("m")
    with pytest.raises(RungError):
        _scores(client)
    _gone(second)


def test_options_that_change_nothing_of_the_runtime_keep_the_process(client: Client, doing: Any) -> None:
    before = _children()
    _deployed(client, doing())
    assert _scores(client) == [1.0, 4.0, 8.0]
    held = _only(before)
    client.transport.call(Configure(deployment="m", set={"logging.share": 0.5}))
    client.transport.call(Configure(deployment="m", set={"limits.max_rows": 77}))
    assert _scores(client) == [1.0, 4.0, 8.0]
    assert _only(before) == held


def test_a_version_that_made_room_for_another_has_no_process_left(tmp_path: Path, doing: Any) -> None:
    transport = _opened(tmp_path, **{"serving.memory_mb": "1"})
    try:
        client, before = Client(transport), _children()
        client.registry.register("m", doing(ballast="x" * 700_000), example=FRAME, label="y")
        for name in ("m", "other"):
            client.serving.deploy(name, "m", 1, environment="dev")
        client.registry.register("large", doing(ballast="y" * 700_000), example=FRAME, label="y")
        assert client.serving.predict("m", FRAME)["score"].to_list() == [1.0, 4.0, 8.0]
        client.serving.undeploy("other")
        client.serving.deploy("large", "large", 1, environment="dev")
        first = _children() - before
        assert client.serving.predict("large", FRAME)["score"].to_list() == [1.0, 4.0, 8.0]
        _gone(first)
        _only(before)
    finally:
        transport.close()


def test_a_process_let_go_of_answers_who_still_asks_and_ends_then(client: Client, transport: LocalTransport, doing: Any) -> None:
    before = _children()
    _deployed(client, doing())
    platform = transport.platform
    live = live_table(platform.database, platform.blobs, platform.settings).get(transport.caller().project, "m")
    client.serving.undeploy("m")
    with pytest.raises(RungError):
        _scores(client)
    _gone(_children() - before)
    from rung.serving.inference import Rows

    assert live.stable.scoring.now(Rows(frame=FRAME)).tolist() == [1.0, 4.0, 8.0]  # it took the table before, and asks only now
    _gone(_children() - before)


def test_closing_the_platform_ends_its_models(tmp_path: Path, doing: Any) -> None:
    transport, before = _opened(tmp_path), _children()
    _deployed(Client(transport), doing())
    assert _scores(Client(transport)) == [1.0, 4.0, 8.0]
    held = _only(before)
    (scratch,) = (Path(os.readlink(f"/proc/{pid}/cwd")) for pid in held)
    transport.close()
    _gone(held)
    wait_until(lambda: not scratch.exists(), 60, lambda: "it is still there")


def test_code_that_opens_a_socket_is_told_so_and_nothing_arrives(client: Client, doing: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        _deployed(client, doing(port=listening.getsockname()[1]))
        with pytest.raises(Unavailable, match="no network") as met:
            _scores(client)
        assert met.value.code == "serving.model_confined"
        with pytest.raises(TimeoutError):
            listening.accept()


def test_code_that_writes_reads_or_starts_what_is_not_its_own_is_told_so(client: Client, doing: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    made = tmp_path / "made"
    for what in (
        {"write": made}, {"write": tmp_path / "home" / "isolated" / "made"}, {"read": tmp_path / "token"}, {"name": "localhost"},
        {"program": "/usr/bin/touch", "argument": made}, {"signal": os.getpid()},
    ):  # fmt: skip
        client.registry.register("m", doing(**what), example=FRAME, label="y")
        client.serving.deploy("m", "m", None, environment="dev")
        with pytest.raises(Unavailable, match="may not") as met:
            _scores(client)
        assert met.value.code == "serving.model_confined", what
    assert not made.exists()
    assert not (tmp_path / "home" / "isolated" / "made").exists()


def test_code_writes_below_its_scratch_folder_which_goes_with_its_process(client: Client, doing: Any) -> None:
    before = _children()
    _deployed(client, doing(scratch=1))
    assert _scores(client) == [1.5, 6.0, 12.0]
    (pid,) = _only(before)
    scratch = Path(os.readlink(f"/proc/{pid}/cwd"))
    assert (scratch / "beside").read_text() == "here"
    client.serving.undeploy("m")
    with pytest.raises(RungError):
        _scores(client)
    wait_until(lambda: not scratch.exists(), 60, lambda: "it is still there")


def test_code_does_not_see_the_secrets_of_the_servers_environment(client: Client, doing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    _deployed(client, doing(secret="hush-hush"))
    assert _scores(client) == [0.5, 2.0, 4.0]


def test_code_that_was_allowed_once_is_not_served_where_it_is_not(tmp_path: Path, doing: Any) -> None:
    transport = _opened(tmp_path)
    _deployed(Client(transport), doing())
    transport.close()
    transport = _opened(tmp_path, **{"registry.allow_code": "false"})
    try:
        before = _children()
        with pytest.raises(Unavailable, match="brings code of its own"):
            _scores(Client(transport))
        assert _children() <= before
        with pytest.raises(Denied, match="brings code of its own"):
            Client(transport).registry.register("other", doing(), example=FRAME, label="y")
    finally:
        transport.close()


@pytest.mark.parametrize("anyway", [False, True])
def test_where_it_cannot_be_confined_it_is_refused_unless_the_settings_say_otherwise(
    tmp_path: Path, doing: Any, monkeypatch: pytest.MonkeyPatch, *, anyway: bool
) -> None:
    (tmp_path / "early").mkdir()
    # a lock of the kernel holds for one thread and those it starts: with another one running nothing can be promised
    (tmp_path / "early" / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "early"))
    transport = _opened(tmp_path, **{"registry.allow_unconfined_code": str(anyway).lower()})
    try:
        client = Client(transport)
        _deployed(client, doing())
        if anyway:
            assert _scores(client) == [1.0, 4.0, 8.0]
        else:
            with pytest.raises(Unavailable, match="cannot be confined"):
                _scores(client)
    finally:
        transport.close()


def test_code_that_is_confined_has_the_libraries_of_its_own_lock(
    client: Client, transport: LocalTransport, doing: Any, tmp_path: Path
) -> None:
    file = wheel(tmp_path / "wheels", "tiny", "1.0", {"tiny.py": "RATE = 7.0\n"})
    client.registry.register("m", doing(), example=FRAME, label="y")
    held = client.registry.version("m", 1)
    lock = transport.put_blob(f"tiny @ file://{file}\n".encode())
    client.transport.call(RegisterVersion(**{name: getattr(held, name) for name in KEPT}, lock=lock))
    transport.call(_deploy(number=2))
    assert _scores(client) == [1.0, 4.0, 8.0]
    client.transport.call(Configure(deployment="m", set={"runtime.locked": True}))
    assert _scores(client) == [3.5, 14.0, 28.0]


def test_a_python_function_of_mlflow_is_served_confined(client: Client, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow.pyfunc")

    class Half(mlflow.PythonModel):  # type: ignore[misc, name-defined]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            if "RUNG_ISOLATED" not in os.environ or len(model_input) != 1:
                return model_input["x"] / 2
            return socket.socket().fileno()

    mlflow.save_model(tmp_path / "half", python_model=Half(), pip_requirements=[])
    client.registry.register("m", tmp_path / "half", example=FRAME, label="y", task="regression", format="pyfunc")
    transport_call = client.transport.call
    transport_call(_deploy())
    assert _scores(client) == [0.25, 1.0, 2.0]
    with pytest.raises(Unavailable, match="no network"):
        client.serving.predict("m", FRAME.head(1))


def test_confined_code_is_given_no_device(client: Client, doing: Any) -> None:
    client.registry.register("m", doing(), example=FRAME, label="y")
    with pytest.raises(Invalid, match="'cuda'"):
        client.transport.call(_deploy(device="cuda"))
