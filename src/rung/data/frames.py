"""Rows of dataset versions as lazy frames; nothing is loaded before it is asked for."""

from __future__ import annotations

import polars as pl

from rung.core.errors import Invalid
from rung.data.records import DatasetVersion
from rung.storage.blobs import BlobStore


def scan(blobs: BlobStore, version: DatasetVersion) -> pl.LazyFrame:
    """The rows of a table version. Raises Invalid for a version of plain files."""
    if version.format != "table":
        raise Invalid(
            f"{version.ref} holds files, not rows.", code="data.not_a_table", hint="Add it as Parquet or CSV, or fetch its files."
        )
    return pl.scan_parquet([blobs.url(entry.digest) for entry in version.files])
