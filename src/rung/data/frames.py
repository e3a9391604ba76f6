"""From a table version to a lazy frame, read from where the blobs lie."""

from __future__ import annotations

import polars as pl

from rung.core.errors import Invalid
from rung.data.records import DatasetVersion
from rung.storage.blobs import BlobStore


def scan(blobs: BlobStore, version: DatasetVersion) -> pl.LazyFrame:
    """The rows of a version, its files in order, read lazily. Raises Invalid for a version of plain files."""
    if version.format != "table":
        raise Invalid(f"{version.ref} holds files, not a table.", code="data.not_a_table", hint="Read its files by path instead.")
    return pl.scan_parquet([blobs.url(file.digest) for file in version.files], glob=False)
