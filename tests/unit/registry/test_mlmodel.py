"""MLmodel files of strangers: each is read within bounds, or refused with the reason."""

from __future__ import annotations

import pytest

from rung.core.digests import digest_of
from rung.core.errors import Invalid
from rung.registry.bounded_yaml import read_yaml, text_of
from rung.registry.mlmodel import FolderFile, MlflowModel, interpret

BOMB = "a: &a [x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9))


def read(mlmodel: bytes | str, **others: bytes) -> MlflowModel:
    data = {"MLmodel": mlmodel.encode() if isinstance(mlmodel, str) else mlmodel, **others}
    files = {path: FolderFile(digest=digest_of(held), size_bytes=len(held)) for path, held in data.items()}
    blobs = {digest_of(held): held for held in data.values()}
    return interpret(files, blobs.__getitem__)


BAD: dict[str, tuple[bytes | str, str]] = {
    "aliases inside of aliases": (BOMB, "repeats a part inside of a repeated part"),
    "many aliases": ("a: &a x\nb: [" + ", ".join(["*a"] * 200) + "]", "too many parts"),
    "an endless loop": ("a: &a [*a]", "inside of a repeated part"),
    "nested deep": ("[" * 500 + "]" * 500, "nested too deep"),
    "nested deep by lines": ("\n".join(" " * i + "a:" for i in range(300)), "nested too deep"),
    "many parts": ("a: [" + ",".join("x" * 60_000) + "]", "too many parts"),
    "too large": (b"a: " + b"x" * 1_100_000, "has 1100003 bytes"),
    "not UTF-8": (b"flavors: \xff\xfe", "cannot be read"),
    "not YAML": ("flavors: [", "cannot be read"),
    "a list": ("- flavors", "no mapping"),
    "nothing": ("", "no mapping"),
    "a key that is no text": ("? [a]\n: b", "cannot be read|no mapping"),
    "no flavors": ("model_uuid: x", "names no flavors"),
    "flavors that are a text": ("flavors: sklearn", "names no flavors"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_description_is_refused_with_the_reason(name: str) -> None:
    content, reason = BAD[name]
    with pytest.raises(Invalid, match=reason) as refused:
        read(content)
    assert refused.value.code == "registry.bad_mlmodel"


def test_a_tag_builds_nothing() -> None:
    assert read_yaml(b"a: !!python/object/apply:os.system ['exit']\nb: !!python/name:os.system x", "it") == {"a": ["exit"], "b": "x"}
    assert read_yaml(b"a: 0x10\nb: 1e400\nc: yes\nd: ~", "it") == {"a": "0x10", "b": "1e400", "c": "yes", "d": "~"}
    assert (text_of("~"), text_of(["x"]), text_of("null"), text_of("x")) == ("", "", "", "x")


@pytest.mark.parametrize(
    "path",
    ["../../../etc/passwd", "/etc/passwd", "model.skops/..", "..", ".", "a\\..\\b", "file:///etc/passwd", "model%2e%2e", "x" * 100_000],
)
def test_a_path_names_a_file_of_the_folder_or_nothing(path: str) -> None:
    told = read(f"flavors:\n  sklearn:\n    pickled_model: {path!r}\n", **{"other.skops": b"x"})
    assert "is not in the folder" in told.unservable
    assert len(told.unservable) <= 1000


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04.", b"\x00" * 100], ids=["empty", "zip cut off", "pickle", "zeros"])
@pytest.mark.parametrize("flavor", ["sklearn: {pickled_model: model.skops}", "lightgbm: {data: model.lgb}", "xgboost: {data: model.ubj}"])
def test_a_file_that_is_no_model_makes_a_version_that_says_so(flavor: str, content: bytes) -> None:
    name = flavor.partition(": ")[2].strip("{}").partition(": ")[2]
    told = read(f"flavors:\n  {flavor}\n", **{name: content})
    assert "is no " in told.unservable or "cannot be read" in told.unservable
    assert told.task is None


@pytest.mark.parametrize(
    "inputs",
    [
        "[",
        "[]",
        "{}",
        '[{"type": "long"}]' * 2,
        '[{"type": "tensor"}]',
        "null",
        '[{"type": "long", "name": "a"}, {"type": "long", "name": "a"}]',
    ],
)
def test_a_signature_that_is_none_is_told_and_nothing_breaks(inputs: str) -> None:
    told = read(f"flavors:\n  sklearn: {{pickled_model: model.skops}}\nsignature: {{inputs: {inputs!r}}}\n", **{"model.skops": b"x"})
    assert told.unservable
    assert told.signature is None
