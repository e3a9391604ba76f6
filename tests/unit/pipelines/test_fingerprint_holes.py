"""No way of reaching code or a value goes unnoticed, and nothing that only looks different counts."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

from rung.pipelines.fingerprint import Fingerprint, fingerprint
from tests.unit.pipelines.projects import digest, same

# Each case: the file that differs, with <1> where it does; the other files; the two texts.
NOTICED = {
    "a dataclass's default": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    a: int = <1>\ndef run(x):\n    return C()\n",
        "1",
        "2",
    ),
    "a dataclass's method": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    a: int = 1\n    def go(self):\n        return <1>\ndef run(x):\n    return C().go()\n",
        "1",
        "2",
    ),
    "a dataclass instance": (
        "import dataclasses\n@dataclasses.dataclass(frozen=True, slots=True)\nclass C:\n    a: int\nHELD = C(<1>)\ndef run(x):\n    return HELD.a\n",
        "1",
        "2",
    ),
    "an enum's value": ("import enum\nclass E(enum.Enum):\n    A = <1>\ndef run(x):\n    return E.A.value\n", "1", "2"),
    "an enum made by a call": ("import enum\nE = enum.Enum('E', {'A': <1>})\ndef run(x):\n    return E.A.value\n", "1", "2"),
    "a named tuple's fields": (
        "from collections import namedtuple\nP = namedtuple('P', '<1>')\ndef run(x):\n    return P(1, 2)._asdict()\n",
        "a b",
        "a c",
    ),
    "a typed named tuple": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int = <1>\ndef run(x):\n    return P()\n",
        "1",
        "2",
    ),
    "a partial's argument": (
        "import functools\ndef add(a, b):\n    return a + b\nADD = functools.partial(add, <1>)\ndef run(x):\n    return ADD(x)\n",
        "1",
        "2",
    ),
    "a partial's function": (
        "import functools\ndef add(a, b):\n    return a <1> b\nADD = functools.partial(add, 1)\ndef run(x):\n    return ADD(x)\n",
        "+",
        "-",
    ),
    "a partial method": (
        "import functools\nclass C:\n    def go(self, a):\n        return a\n    one = functools.partialmethod(go, <1>)\ndef run(x):\n    return C().one()\n",
        "1",
        "2",
    ),
    "a closure's value": (
        "def make(a):\n    def inner(x):\n        return x + a\n    return inner\nADD = make(<1>)\ndef run(x):\n    return ADD(x)\n",
        "1",
        "2",
    ),
    "a closure's function": (
        "def make(f):\n    return lambda x: f(x)\ndef low(x):\n    return <1>\nGO = make(low)\ndef run(x):\n    return GO(x)\n",
        "1",
        "2",
    ),
    "a nested function": ("def run(x):\n    def inner():\n        return <1>\n    return inner()\n", "1", "2"),
    "what a nested function calls": (
        "def low():\n    return <1>\ndef run(x):\n    def inner():\n        return low()\n    return inner()\n",
        "1",
        "2",
    ),
    "a lambda": ("GO = lambda x: x + <1>\ndef run(x):\n    return GO(x)\n", "1", "2"),
    "a lambda's default": ("GO = lambda x, y=<1>: x + y\ndef run(x):\n    return GO(x)\n", "1", "2"),
    "what a lambda calls": ("def low(x):\n    return <1>\nGO = lambda x: low(x)\ndef run(x):\n    return GO(x)\n", "1", "2"),
    "a class attribute": ("class C:\n    RATE = <1>\ndef run(x):\n    return C.RATE\n", "1", "2"),
    "a class attribute from a call": ("def low():\n    return <1>\nclass C:\n    RATE = low()\ndef run(x):\n    return C.RATE\n", "1", "2"),
    "a property": ("class C:\n    @property\n    def a(self):\n        return <1>\ndef run(x):\n    return C().a\n", "1", "2"),
    "a cached property": (
        "import functools\nclass C:\n    @functools.cached_property\n    def a(self):\n        return <1>\nH = C()\ndef run(x):\n    return H.a\n",
        "1",
        "2",
    ),
    "a static method": ("class C:\n    @staticmethod\n    def a():\n        return <1>\ndef run(x):\n    return C.a()\n", "1", "2"),
    "a class method": ("class C:\n    @classmethod\n    def a(cls):\n        return <1>\ndef run(x):\n    return C.a()\n", "1", "2"),
    "a descriptor's code": (
        "class D:\n    def __get__(self, o, k):\n        return <1>\nclass C:\n    a = D()\ndef run(x):\n    return C().a\n",
        "1",
        "2",
    ),
    "a descriptor's state": (
        "class D:\n    def __init__(self, v):\n        self.v = v\n    def __get__(self, o, k):\n        return self.v\nclass C:\n    a = D(<1>)\ndef run(x):\n    return C().a\n",
        "1",
        "2",
    ),
    "a decorated method": (
        "def twice(f):\n    def inner(self):\n        return f(self) * <1>\n    return inner\nclass C:\n    @twice\n    def a(self):\n        return 1\ndef run(x):\n    return C().a()\n",
        "2",
        "3",
    ),
    "a class decorator": ("def mark(k):\n    k.v = <1>\n    return k\n@mark\nclass C:\n    pass\ndef run(x):\n    return C.v\n", "1", "2"),
    "a metaclass": (
        "class M(type):\n    def __call__(cls):\n        return <1>\nclass C(metaclass=M):\n    pass\ndef run(x):\n    return C()\n",
        "1",
        "2",
    ),
    "an init_subclass": (
        "class B:\n    def __init_subclass__(cls):\n        cls.v = <1>\nclass C(B):\n    pass\ndef run(x):\n    return C.v\n",
        "1",
        "2",
    ),
    "a default that is computed": ("def low():\n    return <1>\ndef run(x=low()):\n    return x\n", "1", "2"),
    "a keyword default": ("START = <1>\ndef run(*, x=START):\n    return x\n", "1", "2"),
    "a cached function": ("import functools\n@functools.cache\ndef low(x):\n    return <1>\ndef run(x):\n    return low(x)\n", "1", "2"),
    "a memoised function": (
        "import functools\n@functools.lru_cache(maxsize=8)\ndef low(x):\n    return <1>\ndef run(x):\n    return low(x)\n",
        "1",
        "2",
    ),
    "a single dispatch's base": (
        "import functools\n@functools.singledispatch\ndef low(x):\n    return <1>\ndef run(x):\n    return low(x)\n",
        "1",
        "2",
    ),
    "a single dispatch's case": (
        "import functools\n@functools.singledispatch\ndef low(x):\n    return 0\n@low.register\ndef _(x: int):\n    return <1>\ndef run(x):\n    return low(x)\n",
        "1",
        "2",
    ),
    "a context manager": (
        "import contextlib\n@contextlib.contextmanager\ndef low():\n    yield <1>\ndef run(x):\n    with low() as y:\n        return y\n",
        "1",
        "2",
    ),
    "a generator": ("def low():\n    yield <1>\ndef run(x):\n    return list(low())\n", "1", "2"),
    "a name in a comprehension": ("RATE = <1>\ndef run(x):\n    return [i * RATE for i in x]\n", "1", "2"),
    "a name in a generator expression": ("RATE = <1>\ndef run(x):\n    return sum(i * RATE for i in x)\n", "1", "2"),
    "a name in an f-string": ("RATE = <1>\ndef run(x):\n    return f'{x} {RATE:>10}'\n", "1", "2"),
    "a format in an f-string": ("def run(x):\n    return f'{x:.<1>f}'\n", "1", "2"),
    "a class in a match": (
        "class C:\n    __match_args__ = ('<1>',)\n    a = b = 1\ndef run(x):\n    match x:\n        case C(y):\n            return y\n",
        "a",
        "b",
    ),
    "a value in a match": ("class K:\n    A = <1>\ndef run(x):\n    match x:\n        case K.A:\n            return 1\n", "1", "2"),
    "a name in a walrus": ("RATE = <1>\ndef run(x):\n    if (y := RATE) > 1:\n        return y\n", "1", "2"),
    "an alias of a type": (
        "class C:\n    def go(self):\n        return <1>\nROWS = list[C]\ndef run(x: ROWS):\n    return x[0].go()\n",
        "1",
        "2",
    ),
    "the class an argument is annotated with": (
        "class C:\n    def go(self):\n        return <1>\ndef run(x: 'C'):\n    return x.go()\n",
        "1",
        "2",
    ),
    "a bound method of a pattern": ("import re\nGO = re.compile('<1>').match\ndef run(x):\n    return GO(x)\n", "a", "b"),
    "an item getter": ("import operator\nGO = operator.itemgetter('<1>')\ndef run(x):\n    return GO(x)\n", "a", "b"),
    "a subclass of dict": ("class D(dict):\n    pass\nHELD = D(a=<1>)\ndef run(x):\n    return HELD\n", "1", "2"),
    "an ordered dict": ("from collections import OrderedDict\nHELD = OrderedDict(a=<1>)\ndef run(x):\n    return HELD\n", "1", "2"),
    "a default dict's factory": (
        "from collections import defaultdict\nHELD = defaultdict(lambda: <1>)\ndef run(x):\n    return HELD['a']\n",
        "1",
        "2",
    ),
    "the order of a dict": ("HELD = {<1>}\ndef run(x):\n    return list(HELD)\n", "'a': 1, 'b': 2", "'b': 2, 'a': 1"),
    "a path": ("from pathlib import Path\nHELD = Path('<1>')\ndef run(x):\n    return HELD\n", "a", "b"),
    "a date": ("from datetime import date\nHELD = date(2013, 1, <1>)\ndef run(x):\n    return HELD\n", "1", "2"),
    "a decimal": ("from decimal import Decimal\nHELD = Decimal('<1>')\ndef run(x):\n    return HELD\n", "1.0", "1.00"),
    "a proxy of a dict": ("import types\nHELD = types.MappingProxyType({'a': <1>})\ndef run(x):\n    return HELD\n", "1", "2"),
    "a generator's seed": ("import random\nHELD = random.Random(<1>)\ndef run(x):\n    return HELD.random()\n", "1", "2"),
    "NumPy's generator": ("import numpy as np\nHELD = np.random.default_rng(<1>)\ndef run(x):\n    return HELD.random()\n", "1", "2"),
    "a data type of NumPy": ("import numpy as np\nHELD = np.dtype('<1>')\ndef run(x):\n    return HELD\n", "i4", "i8"),
    "a frame": ("import polars as pl\nHELD = pl.DataFrame({'a': [<1>]})\ndef run(x):\n    return HELD\n", "1", "2"),
    "an expression of Polars": ("import polars as pl\nHELD = pl.col('a') + <1>\ndef run(x):\n    return x.select(HELD)\n", "1", "2"),
    "an estimator": (
        "from sklearn.linear_model import Ridge\nHELD = Ridge(alpha=<1>)\ndef run(x):\n    return HELD.fit(x)\n",
        "1.0",
        "2.0",
    ),
    "a function inside an estimator": (
        "from sklearn.preprocessing import FunctionTransformer\ndef low(x):\n    return x + <1>\nHELD = FunctionTransformer(low)\ndef run(x):\n    return HELD.fit(x)\n",
        "1",
        "2",
    ),
    "a vectorised function": (
        "import numpy as np\ndef low(x):\n    return <1>\nGO = np.vectorize(low)\ndef run(x):\n    return GO(x)\n",
        "1",
        "2",
    ),
    "an attribute of a function": ("def low(x):\n    return low.rate\nlow.rate = <1>\ndef run(x):\n    return low(x)\n", "1", "2"),
    "a function in a table": ("def low():\n    return <1>\nTABLE = {'low': low}\ndef run(x):\n    return TABLE[x]()\n", "1", "2"),
    "a struct": ("import msgspec\nclass S(msgspec.Struct):\n    a: int = <1>\ndef run(x):\n    return S()\n", "1", "2"),
    "an instance of a struct": (
        "import msgspec\nclass S(msgspec.Struct):\n    a: int\nHELD = S(<1>)\ndef run(x):\n    return HELD.a\n",
        "1",
        "2",
    ),
    "code in a literal string": ("def low():\n    return <1>\ndef run(x):\n    return eval('low()')\n", "1", "2"),
    "a name taken from globals()": ("def low():\n    return <1>\ndef run(x):\n    return globals()['low']()\n", "1", "2"),
    "a type's own method": ("C = type('C', (), {'go': lambda self: <1>})\ndef run(x):\n    return C().go()\n", "1", "2"),
    "a conditional definition": (
        "import sys\nif sys.maxsize:\n    def low():\n        return <1>\nelse:\n    def low():\n        return 0\ndef run(x):\n    return low()\n",
        "1",
        "2",
    ),
    "the later of two definitions": ("def low():\n    return 0\ndef low():\n    return <1>\ndef run(x):\n    return low()\n", "1", "2"),
    "an exception class": (
        "class Bad(ValueError):\n    code = <1>\ndef run(x):\n    try:\n        return x()\n    except Bad as e:\n        return e.code\n",
        "1",
        "2",
    ),
    "an abstract base": (
        "import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def a(self): ...\n    def go(self):\n        return <1>\nclass C(B):\n    def a(self):\n        return 1\ndef run(x):\n    return C().go()\n",
        "1",
        "2",
    ),
    "a protocol of generics": (
        "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass B(Generic[T]):\n    def go(self):\n        return <1>\nclass C(B[int]):\n    pass\ndef run(x):\n    return C().go()\n",
        "1",
        "2",
    ),
    "a method that is put on a class later": (
        "class C:\n    pass\ndef go(self):\n    return <1>\nC.go = go\ndef run(x):\n    return C().go()\n",
        "1",
        "2",
    ),
    "an async helper": ("import asyncio\nasync def low():\n    return <1>\ndef run(x):\n    return asyncio.run(low())\n", "1", "2"),
    "another step that is called": (
        "from rung.pipelines.authoring import step\n@step\ndef low(x):\n    return <1>\ndef run(x):\n    return low(x)\n",
        "1",
        "2",
    ),
}
ELSEWHERE = {
    "a conditional import": (
        "try:\n    from PACKAGE.other import low\nexcept ImportError:\n    low = None\ndef run(x):\n    return low()\n",
        "def low():\n    return <1>\n",
    ),
    "a star import": ("from PACKAGE.other import *\ndef run(x):\n    return low()\n", "def low():\n    return <1>\n"),
    "a module under another name": ("import PACKAGE.other as o\ndef run(x):\n    return o.low()\n", "def low():\n    return <1>\n"),
    "a constant of a module": ("from PACKAGE import other\ndef run(x):\n    return other.RATE\n", "RATE = <1>\n"),
    "a constant through a module's object": (
        "from PACKAGE import other\ndef run(x):\n    return other.C.rate\n",
        "class C:\n    rate = <1>\n",
    ),
    "a local import of a function": (
        "def run(x):\n    from PACKAGE.other import low as l\n    return l()\n",
        "def low():\n    return <1>\n",
    ),
    "a local import of a module by a dotted name": (
        "def run(x):\n    import PACKAGE.other\n    return PACKAGE.other.low()\n",
        "def low():\n    return <1>\n",
    ),
    "a local relative import": ("def run(x):\n    from .other import low\n    return low()\n", "def low():\n    return <1>\n"),
    "a local import in a nested function": (
        "def run(x):\n    def f():\n        from PACKAGE import other\n        return other.low()\n    return f()\n",
        "def low():\n    return <1>\n",
    ),
    "a module imported by its name in a string": (
        "import importlib\ndef run(x):\n    return importlib.import_module('PACKAGE.other').low()\n",
        "def low():\n    return <1>\n",
    ),
    "an attribute taken by a string": (
        "from PACKAGE import other\ndef run(x):\n    return getattr(other, x)()\n",
        "def low():\n    return <1>\n",
    ),
    "an import for type checkers": (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from PACKAGE.other import C\ndef run(x: C):\n    return x.go()\n",
        "class C:\n    def go(self):\n        return <1>\n",
    ),
    "a base class elsewhere": (
        "from PACKAGE.other import B\nclass C(B):\n    pass\ndef run(x):\n    return C().go()\n",
        "class B:\n    def go(self):\n        return <1>\n",
    ),
    "an instance elsewhere": (
        "from PACKAGE.other import HELD\ndef run(x):\n    return HELD.go()\n",
        "class C:\n    def go(self):\n        return <1>\nHELD = C()\n",
    ),
    "a decorator elsewhere": (
        "from PACKAGE.other import mark\n@mark\ndef run(x):\n    return x\n",
        "import functools\ndef mark(f):\n    @functools.wraps(f)\n    def inner(x):\n        return f(x) + <1>\n    return inner\n",
    ),
}


@pytest.mark.parametrize("case", sorted(NOTICED))
def test_an_edit_is_noticed_in(tmp_path: Path, case: str) -> None:
    text, one, two = NOTICED[case]
    first, second = (digest(tmp_path, {"steps": text.replace("<1>", value)}) for value in (one, two))
    assert first[0] != second[0]
    assert (first[1], second[1]) == ((), ())
    assert first[0] == digest(tmp_path, {"steps": text.replace("<1>", one)})[0]


@pytest.mark.parametrize("case", sorted(ELSEWHERE))
def test_an_edit_in_another_file_is_noticed_through(tmp_path: Path, case: str) -> None:
    steps, other = ELSEWHERE[case]
    assert not same(tmp_path, {"steps": steps, "other": other.replace("<1>", "1")}, {"steps": steps, "other": other.replace("<1>", "2")})
    assert same(tmp_path, {"steps": steps, "other": other.replace("<1>", "1")}, {"steps": steps, "other": other.replace("<1>", "1")})


def test_a_name_that_a_package_gives_on_is_followed(tmp_path: Path) -> None:
    for chain in (
        "from PACKAGE.inner import low\ndef run(x):\n    return low()\n",
        "from PACKAGE import inner\ndef run(x):\n    return inner.low()\n",
    ):
        files = {"steps": chain, "inner/__init__": "from PACKAGE.inner.deep import low\n", "inner/deep": "def low():\n    return 1\n"}
        assert not same(tmp_path, files, {**files, "inner/deep": "def low():\n    return 2\n"})


def test_a_namespace_package_is_the_projects(tmp_path: Path) -> None:
    files = {
        "steps": "from PACKAGE import space\nimport PACKAGE.space.deep\ndef run(x):\n    return space.deep.low()\n",
        "space/deep": "def low():\n    return 1\n",
    }
    assert not same(tmp_path, files, {**files, "space/deep": "def low():\n    return 2\n"})


@pytest.mark.parametrize("name", ["platform", "queue", "statistics"])
def test_a_module_named_like_one_of_pythons_is_the_projects(tmp_path: Path, name: str) -> None:
    files = {"steps": f"from PACKAGE.{name} import low\ndef run(x):\n    return low()\n", name: "def low():\n    return 1\n"}
    assert not same(tmp_path, files, {**files, name: "def low():\n    return 2\n"})


SAME = {
    "a comment": ("def run(x):\n    return x\n", "def run(x):\n    # why\n    return x  # so\n"),
    "a docstring": ("def run(x):\n    'One.'\n    return x\n", 'def run(x):\n    """Two."""\n    return x\n'),
    "a docstring of a class": (
        "class C:\n    'One.'\n    a = 1\ndef run(x):\n    return C.a\n",
        "class C:\n    'Two.'\n    a = 1\ndef run(x):\n    return C.a\n",
    ),
    "a docstring of a helper": (
        "def low():\n    'One.'\n    return 1\ndef run(x):\n    return low()\n",
        "def low():\n    'Two.'\n    return 1\ndef run(x):\n    return low()\n",
    ),
    "the format": ("def run(x):\n    return [x, 'a']\n", 'def run(x):\n    return [\n        x,\n        "a",\n    ]\n'),
    "the quotes and parts of a text": ("def run(x):\n    return 'ab'\n", 'def run(x):\n    return "a" "b"\n'),
    "where a function stands": (
        "def low():\n    return 1\ndef run(x):\n    return low()\n",
        "\n\nOTHER = 3\ndef run(x):\n    return low()\n\n\ndef low():\n    return 1\n",
    ),
    "an import that is not used": ("def run(x):\n    return x\n", "import os\nimport json as j\ndef run(x):\n    return x\n"),
    "a constant that is not used": ("A = 1\ndef run(x):\n    return x\n", "A = 2\ndef run(x):\n    return x\n"),
    "the format of a lambda": (
        "GO = lambda x: x + 1\ndef run(x):\n    return GO(x)\n",
        "# why\nGO = (lambda x:\n      x + 1)\ndef run(x):\n    return GO(x)\n",
    ),
    "how a number is written": ("RATE = 1000\ndef run(x):\n    return RATE\n", "RATE = 1_000\ndef run(x):\n    return RATE\n"),
    "the order of a set": ("W = {'a', 'b'}\ndef run(x):\n    return x in W\n", "W = {'b', 'a'}\ndef run(x):\n    return x in W\n"),
    "an option of a step": (
        "from rung.pipelines.authoring import step\n@step\ndef run(x):\n    return x\n",
        "import rung\nN = 3\n@rung.step(retries=N)\ndef run(x):\n    return x\n",
    ),
    "a local that is called like an unused constant": (
        "y = 1\ndef run(x):\n    y = x\n    return y\n",
        "y = 2\ndef run(x):\n    y = x\n    return y\n",
    ),
    "a method's local that is called like a constant": (
        "y = 1\nclass C:\n    def go(self, y):\n        return y\ndef run(x):\n    return C().go(x)\n",
        "y = 2\nclass C:\n    def go(self, y):\n        return y\ndef run(x):\n    return C().go(x)\n",
    ),
}


@pytest.mark.parametrize("case", sorted(SAME))
def test_nothing_changes_with(tmp_path: Path, case: str) -> None:
    before, after = SAME[case]
    assert same(tmp_path, {"steps": before}, {"steps": after})


def test_a_function_that_moved_to_another_file_is_the_same(tmp_path: Path) -> None:
    run = "def run(x):\n    return low(x)\n"
    before = {"steps": "def low(x):\n    return x\n" + run}
    after = {"steps": "from PACKAGE.other import low\n" + run, "other": "def low(x):\n    return x\n"}
    assert same(tmp_path, before, after)


UNSURE = {
    "code made at run time": ("def run(x):\n    return eval(x)\n", "eval"),
    "executed text": ("def run(x):\n    exec(x + '1')\n", "exec"),
    "a module chosen at run time": ("import importlib\ndef run(x):\n    return importlib.import_module(x)\n", "import_module"),
    "a lock": ("import threading\nHELD = threading.Lock()\ndef run(x):\n    return HELD\n", "HELD"),
    "an open file": ("HELD = open('/dev/null')\ndef run(x):\n    return HELD.read()\n", "HELD"),
    "an object that cannot be looked at": (
        "class Odd:\n    @property\n    def __dict__(self):\n        raise OSError('gone')\nHELD = Odd()\ndef run(x):\n    return HELD\n",
        "gone",
    ),
    "a list in itself far down": ("HELD = []\nfor _ in range(5000):\n    HELD = [HELD]\ndef run(x):\n    return HELD\n", "nested"),
    "a default that cannot be read": ("def run(x=open('/dev/null')):\n    return x\n", "default"),
    "a lock inside an instance": (
        "import threading\nclass C:\n    def __init__(self):\n        self.lock = threading.Lock()\nHELD = C()\ndef run(x):\n    return HELD\n",
        "HELD",
    ),
}


@pytest.mark.parametrize("case", sorted(UNSURE))
def test_it_is_unsure_of(tmp_path: Path, case: str) -> None:
    text, named = UNSURE[case]
    assert named in " ".join(digest(tmp_path, {"steps": text})[1])


def test_a_global_that_is_patched_is_noticed_and_its_return_too(monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module("patched", "RATE = 1\nTABLE = {'a': 1}\ndef low():\n    return 1\ndef run(x):\n    return low() * RATE + TABLE['a']\n")
    before = fingerprint(module.run).digest
    with monkeypatch.context() as patch:
        patch.setattr(module, "low", lambda: 2)
        assert fingerprint(module.run).digest != before
    with monkeypatch.context() as patch:
        patch.setattr(module, "RATE", 2)
        assert fingerprint(module.run).digest != before
    with monkeypatch.context() as patch:
        patch.setitem(module.TABLE, "a", 2)
        assert fingerprint(module.run).digest != before
    assert fingerprint(module.run).digest == before


def test_what_the_code_itself_writes_down_is_no_input(tmp_path: Path) -> None:
    text = "HELD = {}\nCOUNT = 0\ndef run(x):\n    global COUNT\n    COUNT += 1\n    HELD[x] = x\n    return COUNT\n"
    module = _file(tmp_path, "writes", text)
    before = fingerprint(module.run).digest
    module.run(1)
    assert fingerprint(module.run).digest == before


def test_a_file_that_was_edited_after_its_import_does_not_stand_for_the_code_that_runs(tmp_path: Path) -> None:
    place = tmp_path / "edited.py"
    place.write_text("def run(x):\n    return 1\n")
    sys.path.insert(0, str(tmp_path))
    sys.dont_write_bytecode, held = True, sys.dont_write_bytecode  # else the edit of the same second and size is not seen
    try:
        module = importlib.import_module("edited")
        place.write_text("def run(x):\n    return 2\n")
        old = fingerprint(module.run).digest
        importlib.invalidate_caches()
        del sys.modules["edited"]
        fresh = fingerprint(importlib.import_module("edited").run).digest
    finally:
        sys.dont_write_bytecode = held
        sys.path.remove(str(tmp_path))
    assert old != fresh


def test_code_from_exec_is_known_by_what_it_does() -> None:
    found = {
        text: _run_of(text)
        for text in ("def run(x):\n    return 1\n", "def run(x):\n    'Doc.'\n    # why\n    return 1\n", "def run(x):\n    return 2\n")
    }
    one, commented, two = (item.digest for item in found.values())
    assert one == commented != two


def test_a_notebooks_cell_is_read_like_a_file() -> None:
    import linecache

    def cell(number: int, text: str) -> str:
        name = f"<ipython-input-{number}-of-a-test>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        space: dict[str, object] = {"__name__": "__main__"}
        exec(compile(text, name, "exec"), space)
        return fingerprint(space["run"]).digest

    one = cell(1, "def low():\n    return 1\ndef run(x):\n    return low()\n")
    commented = cell(2, "def low():\n    return 1  # why\ndef run(x):\n    'Doc.'\n    return low()\n")
    assert one == commented
    assert one != cell(3, "def low():\n    return 2\ndef run(x):\n    return low()\n")


def test_an_extension_of_the_project_counts_by_its_bytes(tmp_path: Path) -> None:
    from importlib.machinery import EXTENSION_SUFFIXES

    native = types.ModuleType("native")
    file = tmp_path / f"native{EXTENSION_SUFFIXES[0]}"
    native.__file__ = str(file)
    found = []
    for content in (b"one", b"twos"):
        file.write_bytes(content)
        found.append(fingerprint(_using(native)).digest)
    assert found[0] != found[1]


def _using(native: types.ModuleType) -> object:
    space = {"__name__": "__main__", "native": native}
    exec("def run(x):\n    return getattr(native, 'go')(x)\n", space)
    return space["run"]


def _module(name: str, text: str) -> types.ModuleType:
    module = types.ModuleType(name)
    exec(compile(text, f"<{name}>", "exec"), module.__dict__)
    return module


def _run_of(text: str) -> Fingerprint:
    space: dict[str, object] = {"__name__": "__main__"}
    exec(text, space)
    return fingerprint(space["run"])


def test_an_editable_package_of_the_project_is_its_code(tmp_path: Path) -> None:
    # an editable install is a .pth file in site-packages that names the source folder
    from rung.pipelines.fingerprint.sources import is_project

    assert is_project(str(tmp_path / "src" / "mine" / "steps.py"), "mine.steps")
    assert not is_project(pytest.__file__, "pytest")
    assert not is_project(importlib.import_module("rung").__file__, "rung")
    assert not is_project(types.__file__, "types")


def test_units_name_what_a_fingerprint_is_made_of(tmp_path: Path) -> None:
    module = _file(
        tmp_path, "named_units", "RATE = 0.5\nclass C:\n    pass\ndef low():\n    return RATE\ndef run(x):\n    return low(), C()\n"
    )
    found = fingerprint(module.run)
    assert set(found.units) == {"named_units.py:run", "named_units.py:low", "named_units.py:C", "named_units.py:RATE"}
    assert found.units["named_units.py:RATE"] == "0.5"


def test_libraries_are_those_that_are_reached(tmp_path: Path) -> None:
    text = "import json\nimport numpy as np\nimport polars\nfrom scipy import stats\ndef low():\n    return np.zeros(1)\ndef run(x):\n    import yaml\n    return low(), json.dumps(x)\n"
    assert fingerprint(_file(tmp_path, "reaches", text).run).libraries == ("numpy", "yaml")


def test_a_library_that_is_only_looked_into_is_reached(tmp_path: Path) -> None:
    text = "import importlib.util\nfrom importlib.resources import files\n"
    text += "def run(x):\n    return importlib.util.find_spec('polars').origin, files('numpy'), x.files('a/*.csv')\n"
    found = fingerprint(_file(tmp_path, "looks_into", text).run)
    assert (found.libraries, found.unsure) == (("numpy", "polars"), ())


def _file(folder: Path, name: str, text: str) -> types.ModuleType:
    (folder / f"{name}.py").write_text(text)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


EVERYTHING = """
import dataclasses, enum, functools, re, collections, types
from datetime import date
import numpy as np
WORDS = {"one", "two", "three", "four", "five", ("six", frozenset({"a", "b", "c"}))}
TABLE = {"a": {1, "x", 2.5}, "b": frozenset(range(20))}
class Kind(enum.Enum):
    A = frozenset({"p", "q", "r"})
@dataclasses.dataclass
class C:
    words: set = dataclasses.field(default_factory=lambda: {"k", "l", "m"})
@functools.singledispatch
def low(x): return x
@low.register
def _(x: int): return x + 1
@low.register
def _(x: str): return x
HELD = C()
GO = functools.partial(low, 1)
PROXY = types.MappingProxyType({"a": {"s", "t"}})
ARRAY = np.arange(3)
LAMBDA = lambda x: x in {"u", "v", "w"}
def run(x):
    if x in {"g", "h", "i"}: return Kind.A
    return WORDS, TABLE, HELD, GO(), PROXY, ARRAY, LAMBDA(x), date(2013, 1, 1)
"""


def test_it_is_the_same_in_every_process_and_under_every_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "everything.py").write_text(EVERYTHING)
    program = "import everything as e; from rung.pipelines.fingerprint import fingerprint as f; print(f(e.run).digest, f(e.run).unsure)"
    found = set()
    for seed in ("0", "1", "2", "31"):
        environ = {"PYTHONPATH": str(tmp_path), "PYTHONHASHSEED": seed, "PATH": "/usr/bin"}
        found.add(subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1
    assert found.pop().endswith("()\n")
