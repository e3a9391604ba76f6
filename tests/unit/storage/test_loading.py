"""What is loaded when: SQLAlchemy only by who builds a statement, and nothing large by a short command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rung

SOURCE = Path(rung.__file__).parent
FLOW = Path(__file__).parents[3] / "benchmarks" / "pipelines" / "peers" / "rung_flow.py"
LARGE = ("sqlalchemy", "numpy", "polars", "pyarrow", "pandas", "scipy", "sklearn", "httpx", "starlette", "uvicorn", "jinja2", "rich")
NEEDLESS = (
    "subprocess",
    "zoneinfo",
    "statistics",
    "ctypes",
    "hmac",
    "html",
    "rung.pipelines.scheduling",
    "rung.engine.reproducing",
)
_STORES = """
import importlib, pkgutil, sys, rung
for item in pkgutil.walk_packages(rung.__path__, "rung."):
    parts = item.name.split(".")
    if parts[1] not in {"ui", "server", "protocols", "examples"} and (parts[-1].endswith(("store", "operations", "purging")) or "store" in parts):
        importlib.import_module(item.name)
print("sqlalchemy" in sys.modules)
"""
_COMMAND = """
import sys
from rung.cli.main import main
try:
    main()
finally:
    print("loaded:", *(name for name in sys.argv[0].split() if name in sys.modules))
"""


def test_stores_and_handlers_are_imported_without_sqlalchemy() -> None:
    said = subprocess.run([sys.executable, "-c", _STORES], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


def test_sqlalchemy_is_named_only_in_storage_and_not_while_a_module_is_imported() -> None:
    from_elsewhere = [
        f"{path.relative_to(SOURCE)}: {line}"
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE).parts[0] != "storage"
        for line in path.read_text("utf-8").splitlines()
        if line.startswith(("import sqlalchemy", "from sqlalchemy"))
    ]
    assert from_elsewhere == []


@pytest.mark.parametrize("home", ["new", "kept"])
def test_a_short_run_loads_nothing_large(home: str, tmp_path: Path) -> None:
    shutil.copy(FLOW, tmp_path / "pipelines.py")
    (tmp_path / "rung.toml").write_text('home = "home"\n')
    unwanted = (*LARGE, *(NEEDLESS if home == "kept" else ()))
    script = f"import sys; sys.argv[0] = {' '.join(unwanted)!r}\n{_COMMAND}"
    for _ in ("new", "kept") if home == "kept" else ("new",):
        said = subprocess.run(
            [sys.executable, "-c", script, "run", "linear", "--json"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    assert said.stdout.rstrip().endswith("loaded:")
