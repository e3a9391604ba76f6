"""Records and requests of data."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.errors import Invalid
from rung.core.events import Event
from rung.core.records import AnyFloat, Count, Digest, Id, Instant, Key, Line, Name, Number, Page, Record, Text
from rung.core.requests import Effect, Request

Format = Literal["table", "files"]
Reading = Literal["auto", "parquet", "csv", "files"]
ValidationStatus = Literal["unchecked", "passed", "warned", "failed"]
ColumnKind = Literal["number", "time", "text", "boolean", "other"]
Limit = Annotated[int, Meta(ge=1, le=1000)]


class DatasetRef(Record):
    """One version of one dataset; written ``name:number``."""

    dataset: Name
    number: Number

    def __str__(self) -> str:
        return f"{self.dataset}:{self.number}"


class FileEntry(Record):
    """One file of a version; ``path`` is relative, with forward slashes."""

    path: Key
    digest: Digest
    size_bytes: Count

    def __post_init__(self) -> None:
        if self.path.startswith("/") or "\\" in self.path or any(part in {"", ".", ".."} for part in self.path.split("/")):
            raise Invalid(
                f"{self.path!r} is not a path inside a folder.", code="data.bad_path", hint="Use relative paths with forward slashes."
            )


class Column(Record):
    """One column of a table; ``dtype`` is Polars' name of the type."""

    name: str
    dtype: str
    nullable: bool


class Dataset(Record):
    """A named table or folder, with its card and how many versions it has."""

    name: Name
    description: Text = ""
    owner: Line = ""
    source: Line = ""
    latest: Number | None = None
    rows: Count | None = None
    size_bytes: Count = 0
    validation: ValidationStatus = "unchecked"
    created_at: Instant
    created_by: str


class DatasetVersion(Record):
    """One immutable state of a dataset.

    A ``table`` is one or more Parquet files of one schema; ``files`` are kept as they are, without rows. ``digest`` is
    that of the content: format, and every path with its digest.
    """

    dataset: Name
    number: Number
    digest: Digest
    format: Format
    files: tuple[FileEntry, ...]
    schema: tuple[Column, ...]
    rows: Count | None
    size_bytes: Count
    time_column: str | None = None
    note: Line = ""
    source: Line = ""
    derived_from: tuple[DatasetRef, ...] = ()
    validation: ValidationStatus = "unchecked"
    created_at: Instant
    created_by: str

    @property
    def ref(self) -> DatasetRef:
        """Name and number of this version."""
        return DatasetRef(dataset=self.dataset, number=self.number)


class VersionSummary(Record):
    """A version without its files and columns, for lists."""

    dataset: Name
    number: Number
    digest: Digest
    format: Format
    rows: Count | None
    columns: Count
    files: Count
    size_bytes: Count
    time_column: str | None
    note: Line
    source: Line
    validation: ValidationStatus
    created_at: Instant
    created_by: str


class Quantile(Record):
    """The value below which a share of the finite values lies (linear interpolation)."""

    share: float
    value: AnyFloat


class Histogram(Record):
    """Counts of finite values between neighbouring edges; the last bin holds its upper edge too."""

    edges: tuple[AnyFloat, ...]
    counts: tuple[Count, ...]


class ValueCount(Record):
    """A value, written as text, and how many rows hold it."""

    value: str | None
    count: Count


class ColumnProfile(Record):
    """Statistics of one column.

    ``minimum`` to ``histogram`` are over finite numbers (booleans as 0 and 1); instants have ``earliest`` and ``latest``
    instead, and texts the shortest and longest length. ``distinct`` counts values that are not null.
    """

    name: str
    dtype: str
    kind: ColumnKind
    count: Count
    nulls: Count
    nans: Count = 0
    infinities: Count = 0
    distinct: Count | None = None
    constant: bool = False
    minimum: AnyFloat | None = None
    maximum: AnyFloat | None = None
    mean: AnyFloat | None = None
    std: AnyFloat | None = None
    earliest: str | None = None
    latest: str | None = None
    shortest: Count | None = None
    longest: Count | None = None
    quantiles: tuple[Quantile, ...] = ()
    histogram: Histogram | None = None
    top: tuple[ValueCount, ...] = ()


class Profile(Record):
    """Statistics of a dataset version, one entry a column; a version of ``files`` has counts by file ending instead."""

    dataset: Name
    number: Number
    rows: Count | None
    size_bytes: Count
    duplicate_rows: Count | None = None
    columns: tuple[ColumnProfile, ...] = ()
    endings: dict[str, Count] = {}
    computed_at: Instant


class Rows(Record):
    """Some rows of a version, values as text."""

    dataset: Name
    number: Number
    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    offset: Count
    total: Count


class TypeChange(Record):
    """A column whose type is another one now."""

    column: str
    before: str
    after: str


class StatisticChange(Record):
    """A statistic of a column that moved; ``shift`` is in standard deviations of the older version where it has one."""

    column: str
    statistic: str
    before: AnyFloat | None
    after: AnyFloat | None
    shift: AnyFloat | None = None


class VersionDiff(Record):
    """What is different between two versions of a dataset."""

    dataset: Name
    before: Number
    after: Number
    same: bool
    rows_before: Count | None
    rows_after: Count | None
    added_columns: tuple[Column, ...] = ()
    removed_columns: tuple[Column, ...] = ()
    changed_types: tuple[TypeChange, ...] = ()
    statistics: tuple[StatisticChange, ...] = ()
    added_files: tuple[str, ...] = ()
    removed_files: tuple[str, ...] = ()
    changed_files: tuple[str, ...] = ()


class Expectation(Record):
    """One checkable claim: a member of the family of expectations with its arguments.

    ``blocking`` says whether a version that breaks it is failed, or only warned about.
    """

    kind: Name
    arguments: dict[str, Any] = {}
    blocking: bool = True
    note: Line = ""

    def __str__(self) -> str:
        return " ".join([self.kind, *(f"{name}={value}" for name, value in self.arguments.items())])


class ExpectationSet(Record):
    """The expectations of a dataset in force since ``set_at``; number 0 means that none were ever set."""

    dataset: Name
    number: Count
    expectations: tuple[Expectation, ...]
    set_at: Instant | None = None
    set_by: str = ""


class FailingRow(Record):
    """A row that breaks an expectation: its place in the version, counted from 0, and the values concerned as text."""

    row: Count
    values: dict[str, str | None]


class ExpectationResult(Record):
    """What became of one expectation on one version; ``failing`` counts rows where the claim is about rows."""

    expectation: Expectation
    passed: bool
    observed: Line
    failing: Count | None = None
    examples: tuple[FailingRow, ...] = ()


class Validation(Record):
    """Result of all expectations of a dataset on one of its versions."""

    id: Id
    dataset: Name
    number: Number
    expectations: Count
    status: ValidationStatus
    rows: Count | None
    results: tuple[ExpectationResult, ...]
    as_of: Instant
    validated_at: Instant


class AddVersion(Request[DatasetVersion]):
    """Make a version of a dataset from blobs; content that is already a version answers with that version.

    With ``reading`` auto, files that all end in .parquet or .csv (.csv.gz, .tsv) become one table, anything else is kept
    as files. CSV is parsed: ``nulls`` are the texts that mean null, ``separator`` is found in the header when empty.
    """

    operation = "data.add_version"
    permission = "data:write"
    effect: ClassVar[Effect] = "work"
    dataset: Name
    files: Annotated[tuple[FileEntry, ...], Meta(min_length=1)]
    reading: Reading = "auto"
    time_column: str | None = None
    note: Line = ""
    source: Line = ""
    derived_from: tuple[DatasetRef, ...] = ()
    run: Id | None = None
    nulls: tuple[str, ...] = ("", "NA", "NULL", "null")
    separator: Annotated[str, Meta(max_length=1)] = ""
    as_of: Instant | None = None


class GetVersion(Request[DatasetVersion]):
    """A version of a dataset; the latest when no number is given."""

    operation = "data.get_version"
    permission = "data:read"
    effect: ClassVar[Effect] = "read"
    dataset: Name
    number: Number | None = None


class GetDataset(Request[Dataset]):
    """A dataset with its card."""

    operation = "data.get_dataset"
    permission = "data:read"
    effect: ClassVar[Effect] = "read"
    dataset: Name


class ListDatasets(Request[Page[Dataset]]):
    """Datasets of the project, by name."""

    operation = "data.list_datasets"
    permission = "data:read"
    effect: ClassVar[Effect] = "read"
    limit: Limit = 100
    after: Name | None = None


class ListVersions(Request[Page[VersionSummary]]):
    """Versions of a dataset, newest first."""

    operation = "data.list_versions"
    permission = "data:read"
    effect: ClassVar[Effect] = "read"
    dataset: Name
    limit: Limit = 100
    before: Number | None = None


class SetCard(Request[Dataset]):
    """Say what a dataset is, where it comes from and who answers for it; a field left None stays as it is."""

    operation = "data.set_card"
    permission = "data:write"
    dataset: Name
    description: Text | None = None
    owner: Line | None = None
    source: Line | None = None


class GetProfile(Request[Profile]):
    """Statistics of a version, computed on the first ask and kept."""

    operation = "data.get_profile"
    permission = "data:read"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    dataset: Name
    number: Number | None = None


class ReadRows(Request[Rows]):
    """Some rows of a table version, as text."""

    operation = "data.read_rows"
    permission = "data:read"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    dataset: Name
    number: Number | None = None
    offset: Count = 0
    limit: Limit = 20


class DiffVersions(Request[VersionDiff]):
    """What is different between two versions; by default the latest and the one before it."""

    operation = "data.diff_versions"
    permission = "data:read"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    dataset: Name
    before: Number | None = None
    after: Number | None = None


class SetExpectations(Request[ExpectationSet]):
    """Replace the expectations of a dataset; it need not have a version yet."""

    operation = "data.set_expectations"
    permission = "data:write"
    dataset: Name
    expectations: tuple[Expectation, ...]


class GetExpectations(Request[ExpectationSet]):
    """The expectations of a dataset in force."""

    operation = "data.get_expectations"
    permission = "data:read"
    effect: ClassVar[Effect] = "read"
    dataset: Name


class InferExpectations(Request[tuple[Expectation, ...]]):
    """Expectations that a version meets, proposed from its profile; nothing is set."""

    operation = "data.infer_expectations"
    permission = "data:read"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    dataset: Name
    number: Number | None = None


class Validate(Request[Validation]):
    """Check a version against the expectations in force, and mark it with the result."""

    operation = "data.validate"
    permission = "data:run"
    effect: ClassVar[Effect] = "work"
    dataset: Name
    number: Number | None = None
    as_of: Instant | None = None


class GetValidation(Request[Validation]):
    """The newest validation of a version."""

    operation = "data.get_validation"
    permission = "data:read"
    effect: ClassVar[Effect] = "read"
    dataset: Name
    number: Number | None = None


class RequireValid(Request[DatasetVersion]):
    """The version, unless a blocking expectation fails on it: then Conflict, which stops a pipeline."""

    operation = "data.require_valid"
    permission = "data:read"
    effect: ClassVar[Effect] = "read"
    dataset: Name
    number: Number | None = None


class DatasetVersionAdded(Event):
    """A dataset got a new version; ``validation`` is its mark at that instant."""

    kind: ClassVar[str] = "data.version_added"
    dataset: Name
    number: Number
    validation: ValidationStatus = "unchecked"


class DataValidationFailed(Event):
    """A blocking expectation failed on a version."""

    kind: ClassVar[str] = "data.validation_failed"
    dataset: Name
    number: Number
    validation: Id
