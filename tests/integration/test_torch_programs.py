"""Programs of torch.export and TorchScript: taken where code is allowed, read in a confined process only, and served like any model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from rung.app.local import LocalTransport, local_transport  # noqa: E402
from rung.client.client import Client  # noqa: E402
from rung.core.errors import Denied, Invalid  # noqa: E402
from rung.core.settings import load_settings  # noqa: E402
from rung.registry.format import FORMATS  # noqa: E402
from rung.registry.own_code import at_home  # noqa: E402

FRAME = pl.DataFrame({f"x{i}": np.random.default_rng(i).normal(size=20) for i in range(3)})
KIND = "torch_program"
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # PyTorch writes and reads TorchScript no less


def module() -> Any:
    torch.manual_seed(1)
    nn = torch.nn
    return nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 1), nn.Sigmoid()).eval()


def program(made: Any) -> Any:
    return torch.export.export(made, (torch.zeros(4, 3),), dynamic_shapes=({0: torch.export.Dim.AUTO},))


def expected(made: Any) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(made(torch.tensor(FRAME.to_numpy(), dtype=torch.float32)).double()[:, 0])


@pytest.fixture
def allowing(tmp_path: Path) -> Iterator[LocalTransport]:
    flags = {"home": str(tmp_path / "home"), "registry.allow_code": "true"}
    opened = local_transport(load_settings(tmp_path, environ={}, flags=flags))
    yield opened
    opened.close()


@pytest.mark.parametrize("make", [program, torch.jit.script], ids=["export", "script"])
def test_a_program_is_served_from_a_confined_process(allowing: LocalTransport, make: Any) -> None:
    made, client = module(), Client(allowing)
    version = client.registry.register("net", make(made), example=FRAME, label="y", task="binary", format=KIND)
    assert version.format == KIND
    client.serving.deploy("net", "net", 1, environment="staging")
    found = client.serving.predict("net", FRAME)["score"].to_numpy()
    np.testing.assert_allclose(found, expected(made), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("make", "ending"), [(program, ".pt2"), (torch.jit.script, ".torchscript")])
def test_a_file_that_another_tool_wrote_is_known_by_its_ending(tmp_path: Path, make: Any, ending: str) -> None:
    made = module()
    path = tmp_path / f"net{ending}"
    path.write_bytes(next(iter(FORMATS.get(KIND).save(make(made)).values())))
    files = FORMATS.get(KIND).adopt(path.read_bytes(), ending)
    with at_home():
        found = FORMATS.get(KIND).load(files, "binary")(FRAME)
    np.testing.assert_allclose(found, expected(made), rtol=1e-5, atol=1e-6)


def test_it_is_not_taken_where_code_is_not_allowed_nor_read_in_a_server_s_process(transport: LocalTransport) -> None:
    files = FORMATS.get(KIND).save(program(module()))
    with pytest.raises(Denied, match="torch_program"):
        FORMATS.get(KIND).load(files, "binary")
    with pytest.raises(Denied, match="torch_program"):
        Client(transport).registry.register("net", program(module()), example=FRAME, label="y", task="binary", format=KIND)


def test_what_is_no_program_is_refused_in_words() -> None:
    kind = FORMATS.get(KIND)
    with pytest.raises(Invalid, match="is no program"):
        kind.save(module())
    with pytest.raises(Invalid, match="archive"):
        kind.adopt(b"\x80\x04pickle", ".pt2")
    good = kind.save(program(module()))
    with at_home():
        for name in ("program.pt2", "program.torchscript"):
            with pytest.raises(Invalid, match="PyTorch cannot read the program"):
                kind.load({name: b"PK\x03\x04" + b"x" * 100}, "binary")
        with pytest.raises(Invalid, match="has the file"):
            kind.load({"program.pkl": good["program.pt2"]}, "binary")
        fixed = kind.save(torch.export.export(module(), (torch.zeros(4, 3),)))
        with pytest.raises(Invalid, match="20 rows of 3 columns"):
            kind.load(fixed, "binary")(FRAME)
