"""A notebook's cell becomes a step: inputs, outputs, imports and definitions are told from the text, or refused."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import AlreadyExists, Invalid, NotFound, RungError
from rung.pipelines.names import uses_of
from rung.pipelines.notebooks import Cell, find_cell, read_notebook
from rung.pipelines.promoting import Promoted, added, promoted


def cells(*sources: str) -> tuple[Cell, ...]:
    return tuple(Cell(number=number, source=source, id=f"c{number}") for number, source in enumerate(sources, 1))


def made(*sources: str, at: int, name: str = "train") -> Promoted:
    held = cells(*sources)
    return promoted(held, held[at - 1], name)


def notebook(path: Path, *held: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"cells": list(held), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def code(source: str | list[str], **more: Any) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None, **more}


STORY = (
    "%matplotlib inline\nimport polars as pl\nfrom math import sqrt, floor as down\n",
    "rate = 0.5\ncolumns = ['x']\nframe = pl.DataFrame({'x': [1.0, 4.0]})\n",
    "def root(value):\n    # the positive one\n    return sqrt(value)\n",
    "roots = [root(value) * rate for value in frame['x']]\ntotal = sum(roots)\nshown = len(roots)\n",
    "print(total, roots)\n",
)


def test_a_cell_becomes_a_step_with_what_it_needs() -> None:
    found = made(*STORY, at=4, name="roots_of")
    assert (found.inputs, found.outputs, found.call) == (("frame", "rate"), ("roots", "total"), "roots, total = roots_of(frame)")
    assert found.imports == ("from math import sqrt",)
    assert found.definitions == ("def root(value):\n    # the positive one\n    return sqrt(value)",)
    assert found.source == (
        "@step\n"
        "def roots_of(frame: Any, rate: float = 0.5) -> tuple[Any, Any]:\n"
        '    """Cell 4 of the notebook."""\n'
        "    roots = [root(value) * rate for value in frame['x']]\n"
        "    total = sum(roots)\n"
        "    shown = len(roots)\n"
        "    return roots, total"
    )


def test_the_module_made_of_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "promoted_module.py").write_text(made(*STORY, at=4, name="roots_of").module)
    monkeypatch.syspath_prepend(str(tmp_path))
    import promoted_module  # type: ignore[import-not-found]

    assert promoted_module.roots_of({"x": [1.0, 4.0]}) == ([0.5, 1.0], 1.5)
    assert promoted_module.roots_of.outputs == ("output_0", "output_1")
    del sys.modules["promoted_module"]


def test_imports_of_a_new_module_stand_in_order() -> None:
    found = made("import polars as pl, json\nimport os.path", "x = pl, json, os.path.sep", "x", at=2).module
    assert found.startswith(
        "import json\nimport os.path\nfrom typing import Any\n\nimport polars as pl\nfrom rung import step\n\n\n@step\n"
    )


def test_what_a_cell_changes_in_place_is_an_output() -> None:
    found = made("model, x, y = make()", "model.fit(x, y)\nx['new'] = 1\ny.head()", "print(model, x, y)", at=2)
    assert (found.inputs, found.outputs) == (("model", "x", "y"), ("model", "x"))


def test_a_name_that_is_made_anew_by_the_cell_is_no_input() -> None:
    found = made("i = 3\nframe = [1]", "for i in range(3):\n    frame = [*frame, i]\nlast = frame", "print(last)", at=2)
    assert (found.inputs, found.outputs) == (("frame",), ("last",))


def test_a_name_that_a_later_cell_makes_first_is_no_output() -> None:
    found = made("x = 1", "y = x + 1\nz = 2", "y = 0\nprint(y, z)", at=2)
    assert found.outputs == ("z",)


def test_imports_and_functions_of_the_cell_itself_go_to_the_module() -> None:
    found = made("x = list('1')", "import math\ndef twice(v):\n    return 2 * v\ny = twice(math.floor(x[0]))", "twice(y)", at=2)
    assert (found.imports, found.definitions) == (("import math",), ("def twice(v):\n    return 2 * v",))
    assert "import math" not in found.source
    assert found.outputs == ("y",)


def test_longer_constants_go_to_the_module_and_short_ones_become_defaults() -> None:
    found = made("columns = ['a', 'b']\nrate = 0.1\nname = 'x'\nfast = True", "y = [columns, rate, name, fast]", "y", at=2)
    assert found.definitions == ("columns = ['a', 'b']",)
    assert "def train(rate: float = 0.1, name: str = 'x', fast: bool = True) -> Any:" in found.source


def test_a_constant_that_is_changed_is_a_value() -> None:
    found = made("columns = ['a']\nn = 1", "columns.append('b')\nn += 1", "y = columns, n", "y", at=3)
    assert set(found.inputs) == {"columns", "n"}
    assert "columns: Any" in found.source


def test_texts_over_several_lines_keep_their_place() -> None:
    found = made("x = 1", 'query = """\nselect 1\n  from x\n"""\nif x:\n    y = f"""\n{x}\n"""\nelse:\n    y = query', "y", at=2)
    namespace: dict[str, Any] = {}
    exec(compile(found.module, "m", "exec"), namespace)
    assert namespace["train"](1) == "\n1\n"
    assert namespace["train"](0) == "\nselect 1\n  from x\n"


def test_comments_stay_and_the_heading_becomes_the_docstring(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "n.ipynb", {"cell_type": "markdown", "source": ['## Fit the "line"\n', "more"]}, code("# why\nx = 1  # one\n\nprint(x)")
    )
    held = read_notebook(path)
    assert '    """Fit the \'line\'."""\n    # why\n    x = 1  # one\n\n    print(x)' in promoted(held, held[0], "fit").source


def test_a_step_joins_a_module_that_is_there() -> None:
    before = '"""Mine."""\n\nfrom __future__ import annotations\n\nimport os\n\nfrom rung import pipeline\n\n\n@pipeline\ndef train_all():\n    return os.sep\n'
    text = added(before, made(*STORY, at=4, name="roots_of"))
    assert text.startswith(
        '"""Mine."""\n\nfrom __future__ import annotations\n\nimport os\n\nfrom rung import pipeline\nfrom math import sqrt\nfrom typing import Any\nfrom rung import step\n'
    )
    again = added(text, made("x = 1", "y = x", "y", at=2, name="other"))
    assert again.count("from rung import step") == 1
    assert ast.parse(again)
    with pytest.raises(AlreadyExists, match="has a 'roots_of' already"):
        added(text, made(*STORY, at=4, name="roots_of"))
    with pytest.raises(AlreadyExists, match="has another 'root' already"):
        added("def root(value):\n    return 0\n", made(*STORY, at=4))
    with pytest.raises(Invalid, match="line 1"):
        added("def broken(:\n", made(*STORY, at=4))


def test_a_definition_that_is_there_already_is_not_repeated() -> None:
    text = added("def root(value):\n    return sqrt(value)\n", made(*STORY, at=4))
    assert text.count("def root") == 1


def test_a_docstring_stays_at_the_top() -> None:
    text = added('"""Mine."""\n', made("x = 1", "y = x", "y", at=2))
    assert ast.get_docstring(ast.parse(text)) == "Mine."


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (("x = 1", "%time y = x"), "Line 1 of cell 2 is for notebooks only: %time y = x"),
        (("x = 1", "y = 1\n!ls"), "Line 2 of cell 2 is for notebooks only: !ls"),
        (("x = 1", "files = !ls"), "for notebooks only: files = !ls"),
        (("x = 1", "x?"), "for notebooks only: x?"),
        (("x = 1", "%%bash\nls"), "for notebooks only: %%bash"),
        (("x = 1", "y = (x"), "is no Python"),
        (("x = 1", "await x"), "awaits at its top level"),
        (("x = 1", "return x"), "has a return outside a function"),
        (("x = 1", "y = yield"), "has a yield outside a function"),
        (("x = 1", "from math import *\ny = x"), "imports \\* from math"),
        (("x = 1", "y = nothing + x"), "Cell 2 uses 'nothing', which no earlier cell defines"),
        (("x = 1", "display(x)"), "Cell 2 uses 'display'"),
        (("import math", "import os\ndef f():\n    return 1"), "only imports and defines"),
        (("x = load_it\ndef f():\n    return x", "y = f()"), "Function 'f', which cell 2 uses, reads 'x', which cell 1 makes"),
        (("def f():\n    return missing", "y = f()"), "Function 'f', which cell 2 uses, needs 'missing'"),
        (("x = [1]", "n = len(x)\ndef f():\n    return n", "f()"), "Later cells call 'f'"),
        (("x = 1", ""), "only imports and defines"),
        (("from math import sqrt", "sqrt = sqrt(2)"), "gives 'sqrt' another meaning"),
    ],
)
def test_what_cannot_be_promoted_is_refused_with_a_hint(sources: tuple[str, ...], said: str) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        made(*sources, at=2)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["a b", "class", "1x", ""])
def test_a_step_needs_a_name_of_python(name: str) -> None:
    with pytest.raises(Invalid, match="cannot name a step"):
        made("x = 1", "y = x", at=2, name=name)


def test_magics_and_faults_of_other_cells_do_no_harm() -> None:
    found = made(
        "%load_ext thing\nx = int('2')\nfiles = !ls\n?x", "%%html\n<p>", "this is no python", "y = x", "%%time\nz = y", "print(y)", at=4
    )
    assert (found.inputs, found.outputs) == (("x",), ("y",))


def test_cells_are_found_by_number_id_and_tag(tmp_path: Path) -> None:
    held = read_notebook(
        notebook(
            tmp_path / "n.ipynb", {"cell_type": "markdown", "source": "# Title"}, code(["x = 1\n", "y = 2"], id="abc", metadata={"tags": ["train"]}),
            {"cell_type": "raw", "source": "x"}, code("z = 3"),
        )
    )  # fmt: skip
    assert [cell.number for cell in held] == [1, 2]
    assert find_cell(held, "1") is find_cell(held, "abc") is find_cell(held, "train") is held[0]
    assert (held[0].source, held[0].heading, held[1].heading) == ("x = 1\ny = 2", "# Title", "")
    with pytest.raises(NotFound, match="No code cell of the notebook is '3'"):
        find_cell(held, "3")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}', "\x00"])
def test_what_is_no_notebook_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_text(text)
    with pytest.raises(RungError):
        read_notebook(tmp_path / "n.ipynb")
    with pytest.raises(NotFound):
        read_notebook(tmp_path / "none.ipynb")


@pytest.mark.parametrize(
    ("source", "read", "made_", "bound"),
    [
        ("x = y", "y", "x", "x"), ("x += 1", "x", "x", "x"), ("x = x + 1", "x", "x", "x"), ("[a for a in b if c]", "b c", "", ""),
        ("if a:\n  x = 1\nprint(x)", "a print x", "", "x"), ("if a:\n  x = 1\nelse:\n  x = 2\nx", "a", "x", "x"),
        ("for i in a:\n  b = i\ni", "a i", "", "b i"), ("def f(a, b=c):\n  d = a\n  return d + e", "c e", "f", "f"),
        ("with a as b:\n  c = b", "a", "b c", "b c"), ("try:\n  x = a\nexcept E as e:\n  x = 1\nx", "a E", "x", "e x"),
        ("lambda a: a + b", "b", "", ""), ("class A(B):\n  x = y", "B y", "A", "A"), ("import a.b as c, d.e", "", "c d", "c d"),
        ("while a:\n  x = 1", "a", "", "x"), ("x: int = y", "int y", "x", "x"), ("del x\nx", "x", "", ""), ("(y := 3) + y", "", "y", "y"),
        ("match a:\n  case [b, *c]:\n    b\n  case {'k': d}:\n    d", "a", "", "b c d"), ("{k: v for k, v in a}", "a", "", ""),
        ("def f():\n  global g\n  g = h", "h", "f", "f"), ("a.b = c", "a c", "", ""), ("a[b] = c", "a b c", "", ""),
    ],
)  # fmt: skip
def test_names_are_followed_in_the_order_of_evaluation(source: str, read: str, made_: str, bound: str) -> None:
    found = uses_of(ast.parse(source).body)
    assert (found.read, found.made, found.bound) == (set(read.split()), set(made_.split()), set(bound.split()))
