"""What code needs, and whether what is installed meets a lock."""

from __future__ import annotations

from rung.pipelines.needing import imports_of, needed_by, pinned_by, unmet


def test_imports_are_found_inside_functions_and_relative_ones_left_out() -> None:
    assert imports_of(["import os.path\ndef f():\n    from polars import col\nfrom .near import x\n", "no python !"]) == {"os", "polars"}


def test_what_an_import_requires_is_needed_too() -> None:
    found = needed_by(["from sklearn.linear_model import Ridge"])
    assert {"scikit-learn", "numpy", "scipy", "joblib"} <= found
    assert "polars" not in found


def test_pins_of_requirements_without_a_condition() -> None:
    lock = b"numpy==2.0.0 \\\n    --hash=sha256:abc\nTyping_Extensions[x]==4.1 # why\ncolorama==0.4 ; sys_platform == 'win32'\nrich>=13\n"
    assert pinned_by(lock, "requirements.txt") == {"numpy": "2.0.0", "typing-extensions": "4.1"}


def test_pins_of_a_uv_lock_leave_the_project_itself_out() -> None:
    lock = b'[[package]]\nname = "me"\nversion = "0"\nsource = { virtual = "." }\n[[package]]\nname = "numpy"\nversion = "2.0.0"\nsource = { registry = "x" }\n'
    assert pinned_by(lock, "uv.lock") == {"numpy": "2.0.0"}


def test_unmet_pins_are_told() -> None:
    installed = {"numpy": ("1.0", "x")}
    assert unmet({"numpy": "2.0", "rich": "13"}, installed, missing_too=True) == ["numpy is 1.0, not 2.0", "rich 13 is not installed"]
    assert unmet({"rich": "13"}, installed, missing_too=False) == []
