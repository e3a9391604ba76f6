"""Batches as Arrow streams, Parquet files or CSV: from bytes to rows, and from outputs to bytes."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rung.core.errors import Invalid
from rung.serving.codecs.arrow_sizes import announced
from rung.serving.codecs.form import Tensor, form_of
from rung.serving.codecs.tabular import asked_of_frame
from rung.serving.inference import LIMIT, Asked, Reply, Target

if TYPE_CHECKING:
    import polars as pl

ARROW, PARQUET, CSV = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet", "text/csv"
MEDIA = (ARROW, PARQUET)
_SURPLUS = 64  # columns beyond the model's that a table may have, so that a few too many are named in the answer
_HEADER_BYTES = 1 << 20
_FOOTER_BYTES = 1 << 16
_CELL = 8


def asked(body: bytes, media: str, target: Target, limit: int = LIMIT) -> Asked:
    """What a batch asks. Raises Invalid for bytes that are none, and for more than ``limit`` bytes once they are unpacked."""
    return asked_of_frame(read(body, media, form_of(target.version).width, limit), target)


def read(body: bytes, media: str, width: int, limit: int = LIMIT) -> pl.DataFrame:
    """The frame of a body for a model of ``width`` inputs.

    Raises:
        Invalid: the bytes are no such file, it has far more columns than the model, or it stands for more than ``limit`` bytes.
    """
    import polars as pl  # noqa: PLC0415 - only who gets a batch has it loaded

    try:
        frame = _READERS[media](body, width + _SURPLUS, limit)
    except (pl.exceptions.PolarsError, OSError, ValueError, RuntimeError, pl.exceptions.PanicException) as error:
        said = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise Invalid(f"The body is not {media}: {said}.", code="serving.bad_batch", hint="Send one whole table.") from None
    if sum(int(column.str.len_bytes().sum()) for column in frame if column.dtype == pl.String) > limit:
        raise unpacks_to_more(limit)
    return frame


def header(body: bytes, width: int) -> list[str]:
    """The names in the first line of CSV. Raises Invalid for far more of them than a model of ``width`` inputs takes."""
    text = io.TextIOWrapper(io.BytesIO(body[:_HEADER_BYTES]), "utf-8-sig", errors="replace", newline="")
    try:
        names = next(csv.reader(text), [])
    except csv.Error as error:
        raise Invalid(f"The body is not {CSV}: {error}.", code="serving.bad_batch", hint="Send one whole table.") from None
    if len(names) > width + _SURPLUS:
        raise _too_wide(len(names), width)
    return names


def headless(body: bytes, names: Sequence[str]) -> pl.DataFrame:
    """The frame of CSV without a header line. Raises Invalid."""
    import polars as pl  # noqa: PLC0415

    try:
        frame = pl.read_csv(io.BytesIO(body), has_header=False, new_columns=list(names), infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise Invalid(f"The body is not CSV: {str(error)[:200]}.", code="serving.bad_batch", hint="Send a line a row.") from None
    return _untyped(frame)


def unpacks_to_more(limit: int) -> Invalid:
    """The error for a small file that stands for a huge table."""
    return Invalid(
        f"The table takes more than {limit / (1 << 20):g} MiB once it is unpacked.", code="request.too_large", hint="Send smaller batches."
    )


def table(tensors: Sequence[Tensor]) -> pl.DataFrame:
    """Outputs as a frame, one column an output; a matrix gives one column a class."""
    import polars as pl  # noqa: PLC0415

    columns: list[pl.Series] = []
    for tensor in tensors:
        if len(tensor.shape) == 2:  # noqa: PLR2004 - a matrix
            columns += [pl.Series(f"{tensor.name}_{place}", tensor.values[:, place]) for place in range(tensor.shape[1])]
        else:
            columns.append(pl.Series(tensor.name, tensor.values, dtype=pl.String if tensor.datatype == "BYTES" else None))
    return pl.DataFrame(columns)


def reply(tensors: Sequence[Tensor], media: str) -> Reply:
    """Outputs as a table in the bytes of a media type."""
    import polars as pl  # noqa: PLC0415

    into, frame = io.BytesIO(), table(tensors)
    if media == ARROW:
        frame.write_ipc_stream(into, compat_level=pl.CompatLevel.oldest())
    elif media == PARQUET:
        frame.write_parquet(into)
    else:
        frame.write_csv(into, include_header=False)  # one line a row, so that SageMaker can join them to its input
    return Reply(200, into.getvalue(), [(b"content-type", media.encode())])


def _arrow(body: bytes, width: int, limit: int) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415

    said = announced(body)
    twice = next((name for name, times in Counter(said.names).items() if times > 1), None)
    if twice is not None:
        raise ValueError(f"column {twice[:100]!r} is there twice")
    _check_size(len(said.names), said.rows, width, limit)
    if said.size > limit:
        raise unpacks_to_more(limit)
    return pl.read_ipc_stream(body, use_pyarrow=False)


def _parquet(body: bytes, width: int, limit: int) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415

    if int.from_bytes(body[-8:-4], "little") > _FOOTER_BYTES * width:
        raise ValueError("its footer is larger than that of any table with so many columns")
    found = pl.scan_parquet(io.BytesIO(body))
    rows = int(found.select(pl.len()).collect().item())
    _check_size(len(found.collect_schema()), rows, width, limit)
    return found.collect()


def _csv(body: bytes, width: int, limit: int) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415

    return _untyped(pl.read_csv(io.BytesIO(body), infer_schema_length=None, raise_if_empty=True))


def _untyped(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with columns that hold nothing at all of no type: CSV does not say which they are of."""
    import polars as pl  # noqa: PLC0415

    return frame.with_columns(pl.lit(None).alias(column.name) for column in frame if column.null_count() == frame.height)


def _check_size(columns: int, rows: int, width: int, limit: int) -> None:
    if columns > width:
        raise _too_wide(columns, width - _SURPLUS)
    if rows * max(columns, 1) * _CELL > limit:
        raise unpacks_to_more(limit)


def _too_wide(columns: int, width: int) -> Invalid:
    return Invalid(f"The table has {columns} columns, the model takes {width}.", code="serving.columns", hint="Send its inputs alone.")


_READERS: dict[str, Callable[[bytes, int, int], pl.DataFrame]] = {ARROW: _arrow, PARQUET: _parquet, CSV: _csv}
