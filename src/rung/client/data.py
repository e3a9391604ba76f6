"""Datasets from Python: add files, folders and frames, read versions back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from rung.client.current import current_client, current_run_id
from rung.client.transports import Transport
from rung.core.errors import Invalid, NotFound
from rung.core.records import Page
from rung.data import records as r
from rung.pipelines.artifacts import Dataset


class DataVerbs:
    """Verbs of data."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add(
        self, dataset: str, source: Any, *, time_column: str | None = None, note: str = "", reading: r.Reading = "auto",
        derived_from: Sequence[r.DatasetRef | r.DatasetVersion] = (), as_of: datetime | None = None, origin: str | None = None,
    ) -> r.DatasetVersion:  # fmt: skip
        """A version of a dataset from a file, a folder, or a Polars or pandas frame; the same content is the same version.

        Args:
            dataset: its name; made on first use.
            source: path, frame, or a Dataset that a step answered.
            time_column: the column that tells when a row happened.
            note: what is special about it.
            reading: auto, parquet, csv or files.
            derived_from: versions it was made from.
            as_of: instant its expectations are checked at; now otherwise.
            origin: where it comes from, for lineage; the path otherwise.

        Raises:
            NotFound: the path does not exist. Invalid: the file is empty, or not what it says it is.
        """
        files, where = self._uploaded(source.frame if isinstance(source, Dataset) else source)
        refs = tuple(item.ref if isinstance(item, r.DatasetVersion) else item for item in derived_from)
        request = r.AddVersion(
            dataset=dataset, files=files, reading=reading, time_column=time_column, note=note, source=where if origin is None else origin,
            derived_from=refs, run=current_run_id(), as_of=as_of,
        )  # fmt: skip
        return self._transport.call(request)

    def get(self, dataset: str, number: int | None = None) -> r.DatasetVersion:
        """A version, or the latest. Raises NotFound."""
        return self._transport.call(r.GetVersion(dataset=dataset, number=number))

    def dataset(self, dataset: str) -> r.Dataset:
        """A dataset with its card. Raises NotFound."""
        return self._transport.call(r.GetDataset(dataset=dataset))

    def list(self, *, limit: int = 100, after: str | None = None) -> Page[r.Dataset]:
        """Datasets by name."""
        return self._transport.call(r.ListDatasets(limit=limit, after=after))

    def versions(self, dataset: str, *, limit: int = 100, before: int | None = None) -> Page[r.VersionSummary]:
        """Versions, newest first."""
        return self._transport.call(r.ListVersions(dataset=dataset, limit=limit, before=before))

    def frame(self, dataset: str, number: int | None = None, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of a table version. Raises NotFound, Invalid for plain files."""
        version = self.get(dataset, number)
        if version.format != "table":
            raise Invalid(f"{version.ref} holds files, not rows.", code="data.not_a_table", hint="Fetch its files instead.")
        wanted = None if columns is None else [*columns]
        return pl.concat([pl.read_parquet(io.BytesIO(self._transport.get_blob(f.digest)), columns=wanted) for f in version.files])

    def fetch(self, dataset: str, folder: Path | str, number: int | None = None) -> r.DatasetVersion:
        """Write the files of a version below a folder."""
        version = self.get(dataset, number)
        for entry in version.files:
            path = Path(folder) / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._transport.get_blob(entry.digest))
        return version

    def profile(self, dataset: str, number: int | None = None) -> r.Profile:
        """Statistics of a version."""
        return self._transport.call(r.GetProfile(dataset=dataset, number=number))

    def rows(self, dataset: str, number: int | None = None, *, offset: int = 0, limit: int = 20) -> r.Rows:
        """Some rows as text."""
        return self._transport.call(r.ReadRows(dataset=dataset, number=number, offset=offset, limit=limit))

    def diff(self, dataset: str, before: int | None = None, after: int | None = None) -> r.VersionDiff:
        """What is different between two versions."""
        return self._transport.call(r.DiffVersions(dataset=dataset, before=before, after=after))

    def card(self, dataset: str, *, description: str | None = None, owner: str | None = None, source: str | None = None) -> r.Dataset:
        """Say what a dataset is."""
        return self._transport.call(r.SetCard(dataset=dataset, description=description, owner=owner, source=source))

    def expect(self, dataset: str, *expectations: r.Expectation) -> r.ExpectationSet:
        """Replace what is expected of a dataset."""
        return self._transport.call(r.SetExpectations(dataset=dataset, expectations=expectations))

    def expectations(self, dataset: str) -> r.ExpectationSet:
        """What is expected of a dataset."""
        return self._transport.call(r.GetExpectations(dataset=dataset))

    def infer_expectations(self, dataset: str, number: int | None = None) -> tuple[r.Expectation, ...]:
        """Expectations that a version meets; nothing is set."""
        return self._transport.call(r.InferExpectations(dataset=dataset, number=number))

    def validate(self, dataset: str, number: int | None = None, *, as_of: datetime | None = None) -> r.Validation:
        """Check a version."""
        return self._transport.call(r.Validate(dataset=dataset, number=number, as_of=as_of))

    def validation(self, dataset: str, number: int | None = None) -> r.Validation:
        """The newest validation of a version."""
        return self._transport.call(r.GetValidation(dataset=dataset, number=number))

    def require_valid(self, dataset: str, number: int | None = None) -> r.DatasetVersion:
        """The version; raises Conflict when a blocking expectation fails on it."""
        return self._transport.call(r.RequireValid(dataset=dataset, number=number))

    def _uploaded(self, source: Any) -> tuple[tuple[r.FileEntry, ...], str]:
        if isinstance(source, (str, Path)):
            return self._from_path(Path(source)), str(source)
        frame = as_polars(source)
        sink = io.BytesIO()
        frame.write_parquet(sink, compression="zstd", statistics=True)
        content = sink.getvalue()
        return (r.FileEntry(path="part-0.parquet", digest=self._transport.put_blob(content), size_bytes=len(content)),), ""

    def _from_path(self, path: Path) -> tuple[r.FileEntry, ...]:
        if not path.exists():
            raise NotFound(f"{path} does not exist.", code="data.no_file", hint="Check the path.")
        paths = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        if not paths:
            raise Invalid(f"{path} holds no files.", code="data.empty_folder", hint="Give a folder with files.")
        base = path if path.is_dir() else path.parent
        return tuple(
            r.FileEntry(path=p.relative_to(base).as_posix(), digest=self._transport.put_blob(p), size_bytes=p.stat().st_size) for p in paths
        )


def as_polars(source: Any) -> pl.DataFrame:
    """A Polars frame from a Polars, pandas or Arrow frame; NaN stays NaN. Raises Invalid for anything else."""
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, pl.DataFrame):
        return source
    try:
        if type(source).__module__.partition(".")[0] == "pandas":
            return pl.from_pandas(source, nan_to_null=False)
        return pl.DataFrame(source)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise Invalid(
            f"{type(source).__name__} is no table: {str(error).splitlines()[0]}.",
            code="data.not_a_frame",
            hint="Give a path, or a Polars, pandas or Arrow frame.",
        ) from None


def require_valid(dataset: str, number: int | None = None) -> r.DatasetVersion:
    """The version, from within a step or script; raises Conflict, which stops the pipeline, when a blocking expectation fails on it."""
    return current_client().data.require_valid(dataset, number)
