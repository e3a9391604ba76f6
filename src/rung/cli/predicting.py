"""Rows from and to files for ``rung predict``."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from rung.core.errors import Invalid


def read_rows(file: Path) -> pl.DataFrame:
    """Rows of a CSV or Parquet file. Raises Invalid for a file that is neither."""
    try:
        return pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, infer_schema_length=None, try_parse_dates=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Invalid(
            f"{file} cannot be read as rows: {str(error).splitlines()[0]}.",
            code="serving.bad_file",
            hint="Give a CSV file with a header, or Parquet.",
        ) from None


def write_rows(frame: pl.DataFrame, file: Path) -> None:
    """Write rows as CSV or Parquet, by the file's suffix."""
    if file.suffix == ".parquet":
        frame.write_parquet(file)
    else:
        frame.write_csv(file)
