"""The fingerprint follows what a step reaches, and nothing that does not matter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.pipelines.projects import digest, same


def test_comments_docstrings_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    before = {"steps": "def run(x):\n    return x + 1\n"}
    after = {"steps": '# a comment\n\n\ndef run(x):\n    """Says what."""\n    # why\n    return (x + 1)\n'}
    assert same(tmp_path, before, after)


def test_the_body_matters(tmp_path: Path) -> None:
    assert not same(tmp_path, {"steps": "def run(x):\n    return x + 1\n"}, {"steps": "def run(x):\n    return x + 2\n"})


def test_a_helper_two_levels_down_matters(tmp_path: Path) -> None:
    steps = "from PACKAGE import middle\ndef run(x):\n    return middle.go(x)\n"
    middle = "from PACKAGE.deep import low\ndef go(x):\n    return low(x)\n"
    before = {"deep": "def low(x):\n    return x\n", "middle": middle, "steps": steps}
    assert not same(tmp_path, before, {**before, "deep": "def low(x):\n    return -x\n"})


def test_a_helper_that_is_not_called_does_not_matter(tmp_path: Path) -> None:
    before = {"steps": "def other():\n    return 1\ndef run(x):\n    return x\n"}
    assert same(tmp_path, before, {"steps": "def other():\n    return 2\ndef run(x):\n    return x\n"})


def test_only_the_used_attribute_of_a_module_matters(tmp_path: Path) -> None:
    steps = "from PACKAGE import tools\ndef run(x):\n    return tools.used(x)\n"
    before = {"tools": "def used(x):\n    return x\ndef unused(x):\n    return x\n", "steps": steps}
    assert same(tmp_path, before, {**before, "tools": "def used(x):\n    return x\ndef unused(x):\n    return 2\n"})
    assert not same(tmp_path, before, {**before, "tools": "def used(x):\n    return 3\ndef unused(x):\n    return x\n"})


def test_a_constant_of_the_module_matters(tmp_path: Path) -> None:
    text = "RATE = {}\ndef run(x):\n    return x * RATE\n"
    assert not same(tmp_path, {"steps": text.format("0.1")}, {"steps": text.format("0.2")})


def test_a_method_of_a_base_class_in_the_project_matters(tmp_path: Path) -> None:
    steps = "from PACKAGE.base import Base\nclass Model(Base):\n    pass\ndef run(x):\n    return Model().fit(x)\n"
    text = "class Base:\n    def fit(self, x):\n        return {}\n"
    assert not same(tmp_path, {"base": text.format("x"), "steps": steps}, {"base": text.format("-x"), "steps": steps})


def test_a_method_of_an_instance_at_module_level_matters(tmp_path: Path) -> None:
    text = "class Scaler:\n    def scale(self, x):\n        return {}\nSCALER = Scaler()\ndef run(x):\n    return SCALER.scale(x)\n"
    assert not same(tmp_path, {"steps": text.format("x")}, {"steps": text.format("x * 2")})


def test_the_state_of_an_instance_at_module_level_matters(tmp_path: Path) -> None:
    text = "class Config:\n    def __init__(self, a):\n        self.a = a\nCONFIG = Config({})\ndef run(x):\n    return x + CONFIG.a\n"
    assert not same(tmp_path, {"steps": text.format("1")}, {"steps": text.format("2")})


@pytest.mark.parametrize("returned", ["inner", "function"])
def test_the_body_of_a_project_decorator_matters(tmp_path: Path, returned: str) -> None:
    text = (
        "import functools\ndef twice(function):\n    print({})\n    @functools.wraps(function)\n    def inner(x):\n        return function(x)\n"
        f"    return {returned}\n@twice\ndef run(x):\n    return x\n"
    )
    assert not same(tmp_path, {"steps": text.format("1")}, {"steps": text.format("2")})


def test_what_a_decorator_wraps_matters(tmp_path: Path) -> None:
    text = "def twice(function):\n    return lambda x: function(x)\n@twice\ndef run(x):\n    return {}\n"
    assert not same(tmp_path, {"steps": text.format("1")}, {"steps": text.format("2")})


def test_rungs_own_decorators_do_not_matter(tmp_path: Path) -> None:
    text = "from rung.pipelines.authoring import step\n@step{}\ndef run(x):\n    return x\n"
    assert same(tmp_path, {"steps": text.format("")}, {"steps": text.format("(retries=3)")})


@pytest.mark.parametrize("line", ["from PACKAGE.late import value", "from PACKAGE import late", "import PACKAGE.late"])
def test_an_import_inside_the_function_is_followed(tmp_path: Path, line: str) -> None:
    steps = f"def run(x):\n    {line}\n    return x\n"
    text = "def value():\n    return {}\n"
    assert not same(tmp_path, {"late": text.format(1), "steps": steps}, {"late": text.format(2), "steps": steps})


def test_a_pattern_at_module_level_matters(tmp_path: Path) -> None:
    text = "import re\nPATTERN = re.compile('{}')\ndef run(x):\n    return PATTERN.match(x)\n"
    assert not same(tmp_path, {"steps": text.format("a+")}, {"steps": text.format("b+")})


def test_an_array_at_module_level_matters(tmp_path: Path) -> None:
    text = "import numpy as np\nWEIGHTS = np.array([{}])\ndef run(x):\n    return x * WEIGHTS\n"
    assert not same(tmp_path, {"steps": text.format("1.0")}, {"steps": text.format("2.0")})


def test_what_cannot_be_followed_makes_it_unsure(tmp_path: Path) -> None:
    _, unsure = digest(tmp_path, {"steps": "import threading\nHELD = threading.Lock()\ndef run(x):\n    return HELD\n"})
    assert "HELD" in unsure[0]


def test_a_default_argument_matters(tmp_path: Path) -> None:
    text = "START = {}\ndef run(x=START):\n    return x\n"
    assert not same(tmp_path, {"steps": text.format(1)}, {"steps": text.format(2)})


def test_functions_that_call_each_other_end(tmp_path: Path) -> None:
    text = (
        "def even(x):\n    return x == 0 or odd(x - 1)\ndef odd(x):\n    return x != 0 and even(x - 1)\ndef run(x):\n    return even(x)\n"
    )
    assert digest(tmp_path, {"steps": text})[0]


def test_it_is_the_same_in_every_process_though_sets_are_ordered_by_chance(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(
        "WORDS = {'one', 'two', 'three', 'four', 'five'}\nBY = {'a': {1, 'x'}}\ndef run(x):\n    return x in WORDS or BY\n"
    )
    program = "import words; from rung.pipelines.fingerprint import fingerprint; print(fingerprint(words.run).digest)"
    found = set()
    for seed in ("1", "2", "3"):
        environ = {"PYTHONPATH": str(tmp_path), "PYTHONHASHSEED": seed, "PATH": "/usr/bin"}
        found.add(subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1
