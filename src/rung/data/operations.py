"""Handlers of data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from rung.core.digests import digest_of_value
from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.ids import new_id
from rung.core.records import Page, replaced
from rung.core.requests import handles
from rung.data import records as r
from rung.data.checking import check, inferred, status_of, validated_arguments
from rung.data.diffing import diff
from rung.data.frames import scan
from rung.data.lookup import version_of
from rung.data.profiling import profile_files, profile_table
from rung.data.reading import reading_of, table_of
from rung.data.store import DataStore, summary_of
from rung.governance.lineage import link, node
from rung.storage.outbox import emit
from rung.storage.scope import Scope


@handles(r.AddVersion)
def add_version(request: r.AddVersion, scope: Scope) -> Callable[[Scope], r.DatasetVersion]:
    """Parses and checks the files; saves a version, or answers with the one that has this content. Raises Invalid, NotFound."""
    absent = [entry.path for entry in request.files if not scope.blobs.exists(entry.digest)]
    if absent:
        raise NotFound(f"The content of {absent[0]!r} was not uploaded.", code="data.no_blob", hint="Upload it with put_blob first.")
    reading = reading_of(request.files) if request.reading == "auto" else request.reading
    form, files, schema, rows = table_of(scope.blobs, request.files, reading, request.nulls, request.separator)
    names = [column.name for column in schema]
    if request.time_column is not None and request.time_column not in names:
        raise Invalid(
            f"There is no column {request.time_column!r}.", code="data.no_time_column", hint=f"Columns: {', '.join(names) or 'none'}."
        )
    draft = r.DatasetVersion(
        dataset=request.dataset, number=1, digest=_content(form, files), format=form, files=tuple(files),
        schema=tuple(schema), rows=rows, size_bytes=sum(f.size_bytes for f in files), time_column=request.time_column, note=request.note,
        source=request.source, derived_from=request.derived_from, created_at=scope.now, created_by="",
    )  # fmt: skip
    expectations = scope.read(lambda s: DataStore(s.connection, s.project).expectations(request.dataset))
    validation = (
        _validated(scope, draft, expectations.expectations, request.as_of) if expectations.expectations and form == "table" else None
    )
    return lambda inside: _save_version(inside, request, draft, validation)


@handles(r.GetVersion)
def get_version(request: r.GetVersion, scope: Scope) -> r.DatasetVersion:
    """A version. Raises NotFound."""
    return DataStore(scope.connection, scope.project).version(request.dataset, request.number)


@handles(r.GetDataset)
def get_dataset(request: r.GetDataset, scope: Scope) -> r.Dataset:
    """A dataset. Raises NotFound."""
    return DataStore(scope.connection, scope.project).dataset(request.dataset)


@handles(r.ListDatasets)
def list_datasets(request: r.ListDatasets, scope: Scope) -> Page[r.Dataset]:
    """One page of datasets."""
    found = DataStore(scope.connection, scope.project).datasets(after=request.after, limit=request.limit)
    return Page(items=tuple(found), next=found[-1].name if len(found) == request.limit else None)


@handles(r.ListVersions)
def list_versions(request: r.ListVersions, scope: Scope) -> Page[r.VersionSummary]:
    """One page of versions. Raises NotFound."""
    store = DataStore(scope.connection, scope.project)
    store.dataset(request.dataset)
    found = store.versions(request.dataset, before=request.before, limit=request.limit)
    return Page(items=tuple(summary_of(v) for v in found), next=str(found[-1].number) if len(found) == request.limit else None)


@handles(r.SetCard)
def set_card(request: r.SetCard, scope: Scope) -> r.Dataset:
    """The dataset with its new card. Raises NotFound."""
    store = DataStore(scope.connection, scope.project)
    store.dataset(request.dataset)
    given = {"description": request.description, "owner": request.owner, "source": request.source}
    changes = {name: value for name, value in given.items() if value is not None}
    if changes:
        store.set_card(request.dataset, changes)
    return store.dataset(request.dataset)


@handles(r.GetProfile)
def get_profile(request: r.GetProfile, scope: Scope) -> Callable[[Scope], r.Profile]:
    """The profile, computed on the first ask. Raises NotFound."""
    version = version_of(scope, request.dataset, request.number)
    profile = profile_of(scope, version)

    def save(inside: Scope) -> r.Profile:
        DataStore(inside.connection, inside.project).keep_profile(profile)
        return profile

    return save


@handles(r.ReadRows)
def read_rows(request: r.ReadRows, scope: Scope) -> Callable[[Scope], r.Rows]:
    """Some rows as text. Raises NotFound, Invalid for plain files."""
    version = version_of(scope, request.dataset, request.number)
    part = scan(scope.blobs, version).slice(request.offset, request.limit).collect()
    rows = tuple(tuple(None if value is None else str(value) for value in row) for row in part.iter_rows())
    answer = r.Rows(
        dataset=version.dataset,
        number=version.number,
        columns=tuple(part.columns),
        rows=rows,
        offset=request.offset,
        total=version.rows or 0,
    )
    return lambda _: answer


@handles(r.DiffVersions)
def diff_versions(request: r.DiffVersions, scope: Scope) -> Callable[[Scope], r.VersionDiff]:
    """What is different. Raises NotFound."""
    after = version_of(scope, request.dataset, request.after)
    number = request.before or after.number - 1
    if number < 1:
        raise Invalid(f"{after.ref} is the first version.", code="data.no_predecessor", hint="Add another version, or name two.")
    before = version_of(scope, request.dataset, number)
    answer = diff(before, after, profile_of(scope, before), profile_of(scope, after))
    return lambda _: answer


@handles(r.SetExpectations)
def set_expectations(request: r.SetExpectations, scope: Scope) -> r.ExpectationSet:
    """The expectations now in force. Raises NotFound for an unknown kind, Invalid for bad arguments."""
    for expectation in request.expectations:
        validated_arguments(expectation)
    store = DataStore(scope.connection, scope.project)
    store.take_turn(request.dataset)
    if store.find_dataset(request.dataset) is None:
        store.add_dataset(new_id(), _dataset(scope, request.dataset))
    held = r.ExpectationSet(
        dataset=request.dataset, number=store.expectations(request.dataset).number + 1, expectations=request.expectations,
        set_at=scope.now, set_by=scope.who,
    )  # fmt: skip
    store.add_expectations(new_id(), held)
    return held


@handles(r.GetExpectations)
def get_expectations(request: r.GetExpectations, scope: Scope) -> r.ExpectationSet:
    """The expectations in force."""
    return DataStore(scope.connection, scope.project).expectations(request.dataset)


@handles(r.InferExpectations)
def infer_expectations(request: r.InferExpectations, scope: Scope) -> Callable[[Scope], tuple[r.Expectation, ...]]:
    """Expectations that a version meets. Raises NotFound."""
    answer = inferred(profile_of(scope, version_of(scope, request.dataset, request.number)))
    return lambda _: answer


@handles(r.Validate)
def validate(request: r.Validate, scope: Scope) -> Callable[[Scope], r.Validation]:
    """Checks a version and marks it. Raises NotFound, Conflict when nothing is expected of the dataset."""
    version = version_of(scope, request.dataset, request.number)
    held = scope.read(lambda s: DataStore(s.connection, s.project).expectations(request.dataset))
    if not held.expectations:
        raise Conflict(
            f"Nothing is expected of {request.dataset!r} yet.",
            code="data.no_expectations",
            hint=f"rung data expect {request.dataset} --infer --set",
        )
    validation = _validated(scope, version, held.expectations, request.as_of)

    def save(inside: Scope) -> r.Validation:
        _keep_validation(inside, validation)
        return validation

    return save


@handles(r.GetValidation)
def get_validation(request: r.GetValidation, scope: Scope) -> r.Validation:
    """The newest validation of a version. Raises NotFound."""
    store = DataStore(scope.connection, scope.project)
    version = store.version(request.dataset, request.number)
    found = store.find_validation(version.dataset, version.number)
    if found is None:
        raise NotFound(f"{version.ref} was never validated.", code="data.no_validation", hint=f"rung data validate {version.dataset}")
    return found


@handles(r.RequireValid)
def require_valid(request: r.RequireValid, scope: Scope) -> r.DatasetVersion:
    """The version. Raises Conflict when a blocking expectation fails on it."""
    store = DataStore(scope.connection, scope.project)
    version = store.version(request.dataset, request.number)
    if version.validation == "failed":
        validation = store.find_validation(version.dataset, version.number)
        broken = [x for x in validation.results if not x.passed and x.expectation.blocking] if validation else []
        said = "; ".join(f"{x.expectation}: {x.observed}" for x in broken[:3])
        raise Conflict(
            f"{version.ref} failed its validation: {said}.",
            code="data.invalid_version",
            hint=f"rung data validate {version.dataset} shows rows.",
        )
    return version


def _content(form: r.Format, files: Sequence[r.FileEntry]) -> str:
    """The digest of a content: rows are the same under any file name, plain files are not."""
    return digest_of_value([form, [[entry.path if form == "files" else "", entry.digest] for entry in files]])


def profile_of(scope: Scope, version: r.DatasetVersion) -> r.Profile:
    """The kept profile of a version, or a fresh one."""
    held = scope.read(lambda s: DataStore(s.connection, s.project).find_profile(version.dataset, version.number))
    if held is not None:
        return held
    return profile_table(version, scan(scope.blobs, version), scope.now) if version.format == "table" else profile_files(version, scope.now)


def _validated(scope: Scope, version: r.DatasetVersion, expectations: tuple[r.Expectation, ...], as_of: object) -> r.Validation:
    moment = as_of or scope.now
    table = scan(scope.blobs, version) if version.format == "table" else pl.LazyFrame()
    results = check(table, expectations, moment)  # type: ignore[arg-type]  # an instant, as the request declares
    return r.Validation(
        id=new_id(), dataset=version.dataset, number=version.number, expectations=len(expectations), status=status_of(results),
        rows=version.rows, results=results, as_of=moment, validated_at=scope.now,  # type: ignore[arg-type]
    )  # fmt: skip


def _save_version(scope: Scope, request: r.AddVersion, draft: r.DatasetVersion, validation: r.Validation | None) -> r.DatasetVersion:
    store = DataStore(scope.connection, scope.project)
    store.take_turn(request.dataset)
    same = store.find_version(request.dataset, digest=draft.digest)
    if same is not None:
        return same
    if store.find_dataset(request.dataset) is None:
        store.add_dataset(new_id(), _dataset(scope, request.dataset, request.source))
    number, status = store.newest_number(request.dataset) + 1, validation.status if validation else "unchecked"
    version = replaced(draft, number=number, created_by=scope.who, validation=status)
    store.add_version(new_id(), version)
    here = node("dataset_version", str(version.ref))
    if request.source:
        link(scope, node("source", request.source[:250]), "added_as", here)
    for parent in request.derived_from:
        link(scope, node("dataset_version", str(parent)), "derived_to", here)
    if request.run:
        link(scope, node("run", request.run), "produced", here)
    link(scope, node("principal", version.created_by), "added", here)
    if validation is not None:
        _keep_validation(scope, replaced(validation, number=number))
    emit(scope, r.DatasetVersionAdded(dataset=version.dataset, number=number, validation=status))
    return version


def _keep_validation(scope: Scope, validation: r.Validation) -> None:
    store = DataStore(scope.connection, scope.project)
    store.add_validation(validation)
    store.mark_validation(validation.dataset, validation.number, validation.status)
    if validation.status == "failed":
        emit(scope, r.DataValidationFailed(dataset=validation.dataset, number=validation.number, validation=validation.id))


def _dataset(scope: Scope, name: str, source: str = "") -> r.Dataset:
    return r.Dataset(name=name, source=source, created_at=scope.now, created_by=scope.who)
