"""Every serving engine against the models' own libraries: equal scores on thousands of rows, in C and in NumPy, whatever the rows hold."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from rung.core.errors import Invalid
from rung.registry.compiling import Compiled, as_model, compiled
from rung.registry.engine import ENGINES, NotHeld, packed, unpacked
from rung.registry.format import FORMATS
from rung.registry.matching import coded_frame
from rung.registry.packing import pack
from rung.registry.racing import clearly_slower, raced
from rung.registry.records import ModelFile, ModelVersion
from rung.registry.rules import made_from
from rung.stats import kernel
from tests.conformance.engine_models import FLIGHTS, SKLEARN, TUMOURS, fitted, lightgbm_models, xgboost_models

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOWHERE = "blake3:" + "0" * 64
_HELD: dict[str, tuple[ModelVersion, dict[str, bytes], Compiled, pl.DataFrame]] = {}
BOOSTERS = ("binary", "gaps", "multiclass", "categories", "poisson")


def held(name: str) -> tuple[ModelVersion, dict[str, bytes], Compiled, pl.DataFrame]:
    """A version, its files, what compiling it found, and rows; fitted once."""
    if name not in _HELD:
        kind, _, which = name.partition(":")
        if kind == "sklearn":
            estimator, frame, _ = fitted(which)
        else:
            estimator, frame = (lightgbm_models if kind == "lightgbm" else xgboost_models)()[which]()
        _HELD[name] = made(estimator, frame)
    return _HELD[name]


def made(estimator: Any, frame: pl.DataFrame) -> tuple[ModelVersion, dict[str, bytes], Compiled, pl.DataFrame]:
    found = pack(estimator, frame)
    version = ModelVersion(
        id="0" * 32, model="m", number=1, digest=NOWHERE, format=found.format, size_bytes=1, signature=found.signature, task=found.task,
        label="y", classes=found.classes, threshold=None, datasets=(), libraries={}, created_at=NOW, created_by="",
        files=tuple(ModelFile(path=path, digest=NOWHERE, size_bytes=len(data)) for path, data in found.files.items()),
    )  # fmt: skip
    return version, found.files, compiled(version, found.files, found.example, NOW), frame


def names() -> list[str]:
    found = [f"sklearn:{name}" for name in SKLEARN]
    return [*found, *(f"lightgbm:{name}" for name in BOOSTERS), *(f"xgboost:{name}" for name in BOOSTERS)]


def rows_of(frame: pl.DataFrame, version: ModelVersion, many: int) -> pl.DataFrame:
    """Rows drawn column by column from real ones, numbers moved about, nulls where they may be."""
    chance = np.random.default_rng(7)
    columns = []
    for field in version.signature.inputs:
        drawn = frame[field.name].sample(many, with_replacement=True, seed=int(chance.integers(1 << 30)))
        if drawn.dtype == pl.Float64:
            drawn = drawn * pl.Series(chance.choice([1.0, 1.0, 0.9, 1.3, -1.0], many))
        if field.nullable:
            drawn = pl.select(pl.when(pl.Series(chance.random(many) < 0.05)).then(None).otherwise(drawn)).to_series()
        columns.append(drawn.alias(field.name))
    return pl.DataFrame(columns)


@pytest.mark.parametrize("name", names())
def test_the_engine_that_must_serve_a_model_does_and_answers_as_it(name: str) -> None:
    pytest.importorskip(name.partition(":")[0])
    version, files, found, frame = held(name)
    wanted = SKLEARN[name.partition(":")[2]][2] if name.startswith("sklearn") else "trees"
    if wanted == "trees" and name.startswith("xgboost") and kernel.KERNEL is None:
        pytest.skip("single precision of the C library is followed to the last bit only in C")
    if kernel.KERNEL is None and "It takes" in found.told.reason:
        pytest.skip("NumPy alone is slower than the model's own library")
    assert found.told.engine == wanted, found.told.reason
    if wanted == "native":
        assert found.told.reason
        assert not found.artifact
        return
    assert found.told.rows > 1000
    assert found.told.largest_difference <= ENGINES.get(wanted).tolerance
    program = unpacked(found.artifact)
    rows = rows_of(frame, version, 3000)
    matrix = coded_frame(program, rows)
    expected = FORMATS.get(version.format).load(files, version.known_task)(rows)
    answered = program.run()(matrix)
    assert answered.shape == expected.shape
    assert np.abs(answered - expected).max() <= 1e-9 * max(1.0, np.abs(expected).max())
    if version.task == "multiclass":
        assert (answered.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert np.array_equal(program.coded([rows[name].to_list() for name in program.inputs]), matrix, equal_nan=True)
    run = program.run()
    one_by_one = np.array([run(matrix[at : at + 1].copy())[0] for at in range(200)])
    assert np.abs(one_by_one - answered[:200]).max() <= 1e-12 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("name", names())
def test_numpy_answers_as_the_compiled_part(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name.partition(":")[0])
    version, _, found, frame = held(name)
    if kernel.KERNEL is None or not found.artifact:
        pytest.skip("nothing to compare")
    program = unpacked(found.artifact)
    rows = coded_frame(program, rows_of(frame, version, 1000))
    answered = program.run()(rows)
    monkeypatch.setattr(kernel, "KERNEL", None)
    expected = unpacked(found.artifact).run()(rows)
    tolerance = 2e-7 if name.startswith("xgboost") else 1e-12
    assert np.abs(answered - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


def test_threads_side_by_side_get_each_their_own_rows() -> None:
    program = unpacked(held("sklearn:hist_binary")[2].artifact)
    run = program.run()
    chance = np.random.default_rng(3)
    parts = [TUMOURS[0].to_numpy()[chance.integers(0, 569, size)].copy() for size in (1, 3, 64, 700, 2000) * 8]
    alone = [run(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(run, parts * 5))
    assert all(np.array_equal(expected, found) for expected, found in zip(alone * 5, together, strict=True))


@pytest.mark.parametrize(
    "name", ["sklearn:hist_gaps", "sklearn:flights_categories", "sklearn:logistic_gaps", "sklearn:perceptron", "sklearn:vote"]
)
def test_a_damaged_artifact_is_refused_or_answers_but_never_reads_elsewhere(name: str) -> None:
    version, _, found, frame = held(name)
    rows = rows_of(frame, version, 50)
    chance = np.random.default_rng(11)
    refused = 0
    for _ in range(1500):
        data = bytearray(found.artifact)
        for place in chance.integers(0, len(data), chance.integers(1, 6)):
            data[place] = chance.integers(0, 256)
        try:
            program = unpacked(bytes(data[: len(data) if chance.random() < 0.9 else chance.integers(0, len(data))]))
            with np.errstate(all="ignore"):
                program.run()(coded_frame(program, rows))
        except (ValueError, pl.exceptions.PolarsError):
            refused += 1
    assert refused > 100


def test_nodes_that_point_anywhere_are_refused() -> None:
    program = unpacked(held("sklearn:flights_categories")[2].artifact)
    body = program.parts[0].body
    chance = np.random.default_rng(5)
    for field in ("child", "word", "value"):
        for _ in range(300):
            nodes = body.arrays["nodes"].copy()
            at = chance.integers(0, len(nodes))
            nodes[field][at] = chance.choice([0, 1, len(nodes), 2**31, 2**32 - 1, int(chance.integers(1 << 32))])
            arrays = {**body.arrays, "nodes": nodes}
            try:
                model = type(body)(kind=body.kind, settings=body.settings, arrays=arrays).model()
            except ValueError:
                if kernel.KERNEL is not None:
                    with pytest.raises(ValueError, match="not whole"):
                        _compiled_unchecked(body, arrays)
                continue
            rows = chance.normal(size=(64, model.features)) * 10
            model.score(rows)


def _compiled_unchecked(body: Any, arrays: dict[str, np.ndarray]) -> None:
    """Give C what Python would have refused: it must refuse by itself."""
    from rung.stats.ensembles import Forest

    Forest(**body.settings, **arrays).compiled()


def test_equal_programs_give_equal_bytes() -> None:
    _, _, found, _ = held("sklearn:flights_hist")
    assert packed(unpacked(found.artifact)) == found.artifact


def test_an_artifact_belongs_to_files_inputs_and_task() -> None:
    version, _, found, _ = held("sklearn:flights_hist")
    assert unpacked(found.artifact).version == made_from(version)


def test_a_text_the_encoder_refuses_is_refused() -> None:
    program = unpacked(held("sklearn:flights_one_hot_strict")[2].artifact)
    rows = FLIGHTS[0].head(2).with_columns(pl.lit("ZZ").alias("carrier"))
    with pytest.raises(ValueError, match="ZZ"):
        coded_frame(program, rows)


def test_an_artifact_loads_without_the_models_libraries(tmp_path: Any) -> None:
    path = tmp_path / "artifact"
    path.write_bytes(held("sklearn:hist_binary")[2].artifact)
    code = (
        "import sys, pathlib, numpy as np\n"
        "from rung.registry.engine import unpacked\n"
        "import rung.registry.compiled\n"
        f"run = unpacked(pathlib.Path({str(path)!r}).read_bytes()).run()\n"
        "run(np.zeros((1, 30)))\n"
        "print([name for name in ('sklearn', 'scipy', 'pandas', 'polars', 'pyarrow', 'lightgbm', 'xgboost') if name in sys.modules])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_an_engine_nobody_knows_is_told() -> None:
    version, files, _, _ = held("sklearn:stump")
    with pytest.raises(Exception, match="no engines member"):
        compiled(version, files, None, NOW, engine="warp")
    assert compiled(version, files, None, NOW, engine="native").told.engine == "native"
    assert compiled(version, files, None, NOW, engine="mlp").told.reason


def test_a_wrong_task_is_refused_before_compiling() -> None:
    version, files, _, _ = held("sklearn:stump")
    from rung.core.records import replaced

    with pytest.raises(Invalid):
        compiled(replaced(version, task="regression", classes=()), files, None, NOW)


def test_a_line_is_no_average_even_where_its_own_engine_is_refused() -> None:
    estimator, frame, _ = fitted("logistic_gaps")
    version, files, _, _ = made(estimator, frame)
    with pytest.raises(NotHeld):
        ENGINES.get("average").compile(as_model(version, files, lambda: estimator))


def test_waiting_for_a_processor_does_not_count_against_an_engine() -> None:
    ours, native = raced(lambda: time.sleep(0.003), lambda: sum(range(20_000)))
    assert ours < 1000  # microseconds of computing, not the three thousand of waiting
    assert ours < native


@pytest.mark.parametrize(
    ("ours", "native", "slower"), [(90.0, 100.0, False), (190.0, 100.0, False), (230.0, 100.0, True), (25.0, 3.0, False)]
)
def test_an_engine_is_refused_for_its_speed_only_by_a_clear_margin(ours: float, native: float, slower: bool) -> None:
    assert clearly_slower(ours, native) is slower


def test_a_model_that_refuses_its_example_is_compiled_all_the_same() -> None:
    estimator, frame, _ = fitted("logistic")
    odd = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(frame.columns[0]))
    version, files, _, _ = made(estimator, frame)
    buffer = io.BytesIO()
    odd.head(2).write_parquet(buffer)
    told = compiled(version, files, buffer.getvalue(), NOW).told
    assert (told.engine, told.cost_us) == ("affine", 0.0), told.reason
