"""Model files changed at random, read and asked in a process of its own: ``python -m tests.conformance.fuzzing KIND FIRST LAST PROGRESS``.

Each change keeps the file's outer form, so that it gets past the first look: numbers of a text or a JSON, arrays and
texts in an archive, bytes of a graph. What the process was at when it ended stands in the file PROGRESS.
"""

from __future__ import annotations

import io
import json
import re
import resource
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from rung.core.errors import Invalid
from rung.registry.format import FORMATS
from rung.registry.matching import UNSCORABLE

ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 3)), columns=["a", "b", "c"])
LABEL = (ROWS["a"] + ROWS["b"] > 0).astype(int)
COARSE = ROWS.assign(c=pd.Categorical(np.where(ROWS["c"] > 0.5, "x", np.where(ROWS["c"] > -0.5, "y", "z"))))
ODD = [0, 1, -1, 2, 3, 7, 255, 256, -128, 65535, 2**31 - 1, -(2**31), 2**31, 2**32 - 1, 2**53, 2**63 - 1, -(2**63), 2**64]
REAL = [0.5, -1.5, 1e308, -1e308, 1e-320, float("nan"), float("inf"), float("-inf")]


def lightgbm() -> tuple[str, str, bytes, pd.DataFrame]:
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=3, num_leaves=6, min_child_samples=5, min_data_per_group=1, cat_smooth=1, verbose=-1)
    return "lightgbm", "model.txt", FORMATS.get("lightgbm").save(model.fit(COARSE, LABEL))["model.txt"], COARSE


def linear_lightgbm() -> tuple[str, str, bytes, pd.DataFrame]:
    from lightgbm import LGBMRegressor

    model = LGBMRegressor(n_estimators=3, num_leaves=6, min_child_samples=5, linear_tree=True, verbose=-1)
    return "lightgbm", "model.txt", FORMATS.get("lightgbm").save(model.fit(ROWS, LABEL))["model.txt"], ROWS


def _xgboost(**options: Any) -> bytes:
    from xgboost import XGBClassifier

    model = XGBClassifier(n_estimators=3, max_depth=3, enable_categorical=True, **options).fit(
        COARSE if options.get("tree_method") else ROWS, LABEL
    )
    return bytes(model.get_booster().save_raw("json"))


def xgboost_json() -> tuple[str, str, bytes, pd.DataFrame]:
    return "xgboost", "model.json", _xgboost(tree_method="hist", max_cat_to_onehot=1), COARSE


def xgboost_dart() -> tuple[str, str, bytes, pd.DataFrame]:
    return "xgboost", "model.json", _xgboost(booster="dart"), ROWS


def xgboost_linear() -> tuple[str, str, bytes, pd.DataFrame]:
    from xgboost import XGBRegressor

    return (
        "xgboost",
        "model.json",
        bytes(XGBRegressor(booster="gblinear", n_estimators=3).fit(ROWS, LABEL).get_booster().save_raw("json")),
        ROWS,
    )


def xgboost_ubj() -> tuple[str, str, bytes, pd.DataFrame]:
    from xgboost import XGBClassifier

    return "xgboost", "model.ubj", bytes(XGBClassifier(n_estimators=3, max_depth=3).fit(ROWS, LABEL).get_booster().save_raw("ubj")), ROWS


def onnx() -> tuple[str, str, bytes, pd.DataFrame]:
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(3, max_depth=3).fit(ROWS.to_numpy(), LABEL)
    graph = to_onnx(model, ROWS.to_numpy()[:1].astype(np.float32), options={id(model): {"zipmap": False}})
    return "onnx", "model.onnx", graph.SerializeToString(), ROWS


def _skops(model: Any, rows: pd.DataFrame) -> tuple[str, str, bytes, pd.DataFrame]:
    return "skops", "model.skops", FORMATS.get("skops").save(model.fit(rows, LABEL))["model.skops"], rows


def skops_forest() -> tuple[str, str, bytes, pd.DataFrame]:
    from sklearn.ensemble import RandomForestClassifier

    return _skops(RandomForestClassifier(2, max_depth=3), ROWS)


def skops_boosted() -> tuple[str, str, bytes, pd.DataFrame]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return _skops(HistGradientBoostingClassifier(max_iter=2, max_depth=3, min_samples_leaf=5, categorical_features="from_dtype"), COARSE)


def skops_neighbours() -> tuple[str, str, bytes, pd.DataFrame]:
    from sklearn.neighbors import KNeighborsClassifier

    return _skops(KNeighborsClassifier(algorithm="ball_tree", leaf_size=5), ROWS)


def skops_machine() -> tuple[str, str, bytes, pd.DataFrame]:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    return _skops(CalibratedClassifierCV(SVC(), cv=2), ROWS)


def skops_pipeline() -> tuple[str, str, bytes, pd.DataFrame]:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, SplineTransformer

    parts = make_column_transformer((OneHotEncoder(), ["c"]), (SplineTransformer(3), ["a", "b"]))
    return _skops(make_pipeline(parts, GradientBoostingClassifier(n_estimators=2)), COARSE.astype({"c": str}))


KINDS: dict[str, Callable[[], tuple[str, str, bytes, pd.DataFrame]]] = {
    "lightgbm": lightgbm, "linear lightgbm": linear_lightgbm, "xgboost json": xgboost_json, "xgboost dart": xgboost_dart,
    "xgboost linear": xgboost_linear, "xgboost ubj": xgboost_ubj, "onnx": onnx, "skops forest": skops_forest, "skops boosted": skops_boosted,
    "skops neighbours": skops_neighbours, "skops machine": skops_machine, "skops pipeline": skops_pipeline,
}  # fmt: skip


def changed(path: str, data: bytes, random: Random) -> bytes:
    """The file with one to three changes that keep its form."""
    for _ in range(random.choice([1, 1, 2, 3])):
        if path.endswith(".json"):
            data = json.dumps(_changed_value(json.loads(data), random)).encode()
        elif path.endswith(".txt"):
            data = _changed_text(data.decode(), random).encode()
        elif path.endswith(".skops"):
            data = _changed_archive(data, random)
        else:
            data = _changed_bytes(data, random)
    return data


def _changed_bytes(data: bytes, random: Random) -> bytes:
    place, made = random.randrange(len(data)), bytearray(data)
    way = random.randrange(4)
    if way == 0:
        made[place] = random.randrange(256)
    elif way == 1:
        del made[place : place + random.choice([1, 2, 4, 8])]
    elif way == 2:
        made[place:place] = made[place : place + random.choice([1, 4, 40])]
    else:
        made[place : place + 4] = random.choice([b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00"])
    return bytes(made)


def _changed_text(text: str, random: Random) -> str:
    numbers = list(re.finditer(r"-?\d+(\.\d+)?(e[-+]?\d+)?", text))
    found = random.choice(numbers)
    way = random.randrange(4)
    if way == 0:
        lines = text.split("\n")
        place = random.randrange(len(lines))
        lines[place : place + 1] = random.choice([[], [lines[place]] * 2, [random.choice(lines)]])
        return "\n".join(lines)
    put = {1: str(random.choice(ODD)), 2: str(random.choice(REAL)), 3: ""}[way]
    return text[: found.start()] + put + text[found.end() :]


def _changed_value(value: Any, random: Random) -> Any:
    """A document with one value somewhere inside changed."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else []
        places += [(item, key) for key in keys]
        waiting += [item[key] for key in keys]
    item, key = random.choice(places)
    held = item[key]
    way = random.randrange(6)
    if isinstance(held, list) and held and way < 3:
        if way == 0:
            held.pop()
        else:
            held.append(held[0])
    elif isinstance(held, str) and re.fullmatch(r"-?[\d.eE+-]+", held):
        item[key] = str(random.choice([*ODD, *REAL]))
    elif isinstance(held, (int, float)) or way < 4:
        item[key] = random.choice([*ODD, *REAL, "x", None, [], {}, True])
    elif isinstance(item, dict):
        del item[key]
    return value


def _changed_archive(data: bytes, random: Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(sorted(held))
    if name == "schema.json":
        held[name] = json.dumps(_changed_value(json.loads(held[name]), random)).encode()
    elif name.endswith(".npy"):
        held[name] = _changed_array(held[name], random)
    else:
        held[name] = _changed_bytes(held[name], random)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in held.items():
            archive.writestr(path, content)
    return buffer.getvalue()


def _changed_array(data: bytes, random: Random) -> bytes:
    array = np.load(io.BytesIO(data), allow_pickle=False)
    way = random.randrange(5)
    if way == 0 and array.ndim:
        array = array[: len(array) // 2]
    elif way == 1 and array.ndim:
        array = np.concatenate([array, array])
    elif way == 2:
        array = array.reshape(-1)
    elif array.size:
        array = array.copy()
        flat = array.reshape(-1)
        place = random.randrange(array.size)
        fields = array.dtype.names
        target = flat[random.choice(fields)] if fields else flat
        if target.dtype.kind in "iuf":
            with np.errstate(all="ignore"):
                target[place] = np.array(random.choice(ODD if target.dtype.kind != "f" else [*ODD, *REAL]), dtype=np.float64).astype(
                    target.dtype
                )
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def main(kind: str, first: int, last: int, progress: Path) -> int:
    """Try the changes of these numbers. Ends with 1 and a line on what was neither refused nor answered."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    name, path, data, rows = KINDS[kind]()
    task = "regression" if kind in {"linear lightgbm", "xgboost linear"} else "binary"
    frame = pl.from_pandas(rows)
    refused = 0
    for number in range(first, last):
        resource.setrlimit(resource.RLIMIT_CPU, (int(resource.getrusage(resource.RUSAGE_SELF).ru_utime) + 30, resource.RLIM_INFINITY))
        made = changed(path, data, Random(f"{kind} {number}"))
        progress.write_text(str(number), encoding="utf-8")
        try:
            FORMATS.get(name).load({path: made}, task)(frame)
        except UNSCORABLE as error:
            if isinstance(error, MemoryError):
                raise
        except Invalid:
            refused += 1
        except Exception as error:  # that nothing else comes is what is tried
            print(f"{kind} {number}: {type(error).__name__}: {str(error)[:300]}")
            return 1
    print(f"refused {refused} of {last - first}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
