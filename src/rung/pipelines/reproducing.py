"""Records and requests of reproductions: a run executed again and compared, and why it came out otherwise."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from rung.core.records import AnyFloat, Count, Digest, Id, Instant, Key, Line, ModelName, Name, Number, Record
from rung.core.requests import Effect, Request
from rung.pipelines.records import PipelineRun

Likeness = Literal["identical", "equivalent", "different"]
# kernel: a network namespace without any network; guard: Python code is refused every connection; open: nothing is refused.
Network = Literal["kernel", "guard", "open"]
ChangeKind = Literal["data", "package", "lock", "code", "python", "hardware", "threads", "switches", "effects"]
Tolerance = Annotated[float, Meta(ge=0, le=1)]


class PartComparison(Record):
    """One part of an output, such as a column or an array of a model: its greatest absolute and relative difference."""

    name: Line
    likeness: Likeness
    detail: Line = ""
    absolute: AnyFloat | None = None
    relative: AnyFloat | None = None


class OutputComparison(Record):
    """One output of the original against the re-execution's; ``item`` is its place in the collection of a map."""

    step: Key
    output: Line
    likeness: Likeness
    detail: Line
    original: str
    repeated: str
    item: Count | None = None
    tolerance: float | None = None
    parts: tuple[PartComparison, ...] = ()


class MetricComparison(Record):
    """A metric of the tracking run, then and now; ``difference`` is now less then."""

    metric: Key
    original: AnyFloat | None
    repeated: AnyFloat | None
    difference: AnyFloat | None
    likeness: Likeness


class ChangeSince(Record):
    """Something that is not as it was when the run was made, and may be why an output differs."""

    kind: ChangeKind
    subject: Line
    was: Line
    now: Line
    detail: Line = ""


class Reproduction(Record):
    """A pipeline run executed again and compared; ``likeness`` is that of its least alike output or metric.

    ``changes`` are what differs around the run, the likeliest cause of a difference first. ``rebuilt`` says whether its
    libraries were installed anew from its lock, or found here as they were. ``report`` is the digest of a text for people.
    """

    id: Id
    pipeline_run: Id
    repeated_as: Id
    likeness: Likeness
    first_diverging_step: str
    tolerance: float
    comparisons: tuple[OutputComparison, ...]
    notes: tuple[str, ...]
    created_at: Instant
    created_by: Line
    pipeline: Line = ""
    number: Count = 0
    metrics: tuple[MetricComparison, ...] = ()
    changes: tuple[ChangeSince, ...] = ()
    not_repeated: tuple[Key, ...] = ()
    network: Network = "open"
    rebuilt: bool = False
    report: str = ""


class Reproduce(Request[PipelineRun]):
    """Queue the isolated re-execution of a finished run; its comparison is stored when it ends.

    Steps that are run for their side effects keep the original's results, unless ``with_effects`` or named in ``repeat``.
    ``rebuild`` installs the libraries anew even where those found here are the recorded ones.
    """

    operation = "pipelines.reproduce"
    permission = "pipeline:run"
    id: Key
    tolerance: Tolerance = 1e-9
    held: Line | None = None
    with_effects: bool = False
    repeat: Annotated[tuple[Key, ...], Meta(max_length=1000)] = ()
    network: bool = False
    rebuild: bool = False


class ListReproductions(Request[tuple[Reproduction, ...]]):
    """Reproductions of one run or, when none is named, of all, newest first."""

    operation = "pipelines.list_reproductions"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    pipeline_run: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class GetReproduction(Request[Reproduction]):
    """One reproduction by its id."""

    operation = "pipelines.get_reproduction"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    id: Id


class DeployedVersion(Record):
    """A model version that answers now, and the pipeline run it comes from; ``problem`` says why there is no reproduction."""

    deployment: Name
    environment: Name
    model: ModelName
    number: Number
    pipeline_run: Id | None = None
    reproduction: Id | None = None
    problem: Line = ""


class DeployedReproduction(Record):
    """A deployed version with what its reproduction came to; ``likeness`` is empty where there is none."""

    version: DeployedVersion
    likeness: Likeness | Literal[""] = ""
    first_diverging_step: str = ""
    changes: tuple[ChangeSince, ...] = ()
    problem: Line = ""


class ReproductionReport(Record):
    """Every version deployed at an instant, reproduced: what an auditor asks for. ``digest`` names its canonical text."""

    id: Id
    created_at: Instant
    created_by: Line
    tolerance: float
    holds: bool
    entries: tuple[DeployedReproduction, ...]
    digest: Digest


class FileReproductionReport(Request[ReproductionReport]):
    """File what the reproductions of all deployed versions came to; each is looked up here, not taken on trust."""

    operation = "pipelines.file_reproduction_report"
    permission = "pipeline:run"
    effect: ClassVar[Effect] = "work"
    versions: Annotated[tuple[DeployedVersion, ...], Meta(max_length=10_000)]
    tolerance: Tolerance = 1e-9


class ListReproductionReports(Request[tuple[ReproductionReport, ...]]):
    """Filed reports, newest first."""

    operation = "pipelines.list_reproduction_reports"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 20
