"""Records and requests of packages and their releases: one digest of code, lock and plan, moved and never rebuilt."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from rung.core.records import Count, Digest, Id, Instant, Line, Name, Record, Text
from rung.core.requests import Effect, Request
from rung.pipelines.records import Params, ParamSpec, PipelineRunStatus, Seed, StepSpec

# A digest, or so much of its beginning that it names one package.
PackageKey = Annotated[str, Meta(min_length=1, max_length=200)]
LockKind = Literal["uv.lock", "requirements.lock", "requirements.txt", "installed"]


class PackagedPipeline(Record):
    """A pipeline in a package: what it takes, and the plan that its defaults give."""

    name: Name
    target: Line
    doc: Text = ""
    params: tuple[ParamSpec, ...] = ()
    steps: tuple[StepSpec, ...] = ()


class PackageContent(Record):
    """What a package's digest is of: its canonical JSON. No instant, no machine and no principal is in it."""

    format: Literal[1] = 1
    rung: Line
    python: Line
    modules: tuple[Line, ...]
    pipelines: tuple[PackagedPipeline, ...]
    files: dict[str, Digest]
    lock: Digest
    lock_kind: LockKind


class Package(Record):
    """A package as this server knows it; ``origin`` tells where it was built or imported from."""

    digest: Digest
    pipelines: tuple[Name, ...]
    rung: Line
    python: Line
    files: Count
    size_bytes: Count
    lock: Digest
    lock_kind: LockKind
    created_at: Instant
    created_by: Line
    git_commit: Line = ""
    git_dirty: bool = False
    origin: Line = ""


class PackageDetail(Record):
    """A package with its content and where it was released."""

    package: Package
    content: PackageContent
    releases: tuple[Release, ...] = ()


class FileChange(Record):
    """A file, parameter, step or fact in which two packages differ; empty on the side that lacks it."""

    what: Literal["file", "pipeline", "parameter", "step", "lock", "python", "rung", "module"]
    name: Line
    before: Line = ""
    after: Line = ""


class PackageDiff(Record):
    """What is different between two packages."""

    before: Digest
    after: Digest
    changes: tuple[FileChange, ...]


class Release(Record):
    """One attempt to bring a package to an environment: by whom, with what run and, where a rule was overridden, why.

    ``status`` is that of the run. ``url`` is the server it ran on; empty: this one.
    """

    id: Id
    package: Digest
    pipeline: Name
    environment: Name
    status: PipelineRunStatus
    created_at: Instant
    created_by: Line
    params: Params = {}
    url: Line = ""
    pipeline_run: Id | None = None
    approved_by: tuple[Line, ...] = ()
    override_reason: Text = ""
    overridden: tuple[Line, ...] = ()
    ended_at: Instant | None = None


class PackageApproval(Record):
    """One person's yes, or no, to one package in one environment; it stands until it is taken back."""

    id: Id
    package: Digest
    environment: Name
    by: Line
    created_at: Instant
    comment: Text = ""
    rejected: bool = False
    revoked_at: Instant | None = None


class PackageApprovals(Record):
    """What approvals of a package in an environment come to: those given, how many count and are needed, what is missing."""

    package: Digest
    environment: Name
    needed: Count
    counted: Count
    approvals: tuple[PackageApproval, ...]
    missing: Line = ""


class Asymmetry(Record):
    """A run in the later environment with something else than what had succeeded in the earlier one by then."""

    pipeline: Name
    pipeline_run: Id | None
    number: Count
    package: str
    succeeded: tuple[Digest, ...]
    reason: Line
    at: Instant
    override_reason: Text = ""


class SymmetryReport(Record):
    """Whether what runs in ``environment`` is what succeeded in ``before``; ``runs`` is how many were looked at."""

    environment: Name
    before: Name
    holds: bool
    runs: Count
    asymmetries: tuple[Asymmetry, ...]
    checked_at: Instant


class BuildPackage(Request[Package]):
    """Keep a package whose files are blobs already; the same content is the same digest, so a second time adds nothing."""

    operation = "pipelines.package"
    permission = "pipeline:write"
    effect: ClassVar[Effect] = "work"
    content: PackageContent
    git_commit: Line = ""
    git_dirty: bool = False
    origin: Line = ""


class GetPackage(Request[PackageDetail]):
    """A package with its content, by its digest or the beginning of it."""

    operation = "pipelines.get_package"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    package: PackageKey


class ListPackages(Request[tuple[Package, ...]]):
    """Packages, newest first."""

    operation = "pipelines.list_packages"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    pipeline: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class DiffPackages(Request[PackageDiff]):
    """In what two packages differ."""

    operation = "pipelines.diff_packages"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    before: PackageKey
    after: PackageKey


class ReleasePackage(Request[Release]):
    """Run a package in an environment. Refused before it has succeeded in the earlier one, unless a reason is given.

    Approvals that the environment needs cannot be overridden. For an environment on another server the release is entered
    here and settled by whoever runs it there.
    """

    operation = "pipelines.release"
    permission = "pipeline:promote"
    package: PackageKey
    environment: Name
    pipeline: Name | None = None
    params: Params = {}
    seed: Seed = 0
    override_reason: Text = ""
    held: Line | None = None


class SettleRelease(Request[Release]):
    """Enter what the run of a release on another server came to."""

    operation = "pipelines.settle_release"
    permission = "pipeline:promote"
    id: Id
    status: PipelineRunStatus
    pipeline_run: Id | None = None


class ListReleases(Request[tuple[Release, ...]]):
    """Releases, newest first."""

    operation = "pipelines.list_releases"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    package: PackageKey | None = None
    pipeline: Name | None = None
    environment: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class ApprovePackage(Request[PackageApproval]):
    """Approve a package for an environment. Never by whoever made it."""

    operation = "pipelines.approve_package"
    permission = "pipeline:promote"
    package: PackageKey
    environment: Name
    comment: Text = ""


class RejectPackage(Request[PackageApproval]):
    """Say no to a package in an environment, and why; it stands in the way until it is taken back."""

    operation = "pipelines.reject_package"
    permission = "pipeline:promote"
    package: PackageKey
    environment: Name
    comment: Annotated[str, Meta(min_length=1, max_length=10_000, pattern=r"^[^\x00]*$")]


class RevokePackageApproval(Request[PackageApproval]):
    """Take one's own approval or rejection back."""

    operation = "pipelines.revoke_package_approval"
    permission = "pipeline:promote"
    id: Id


class ListPackageApprovals(Request[PackageApprovals]):
    """Approvals of a package for an environment, and what is missing."""

    operation = "pipelines.list_package_approvals"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    package: PackageKey
    environment: Name


class CheckReleases(Request[SymmetryReport]):
    """Whether every run in an environment used a package that had succeeded in the environment before it."""

    operation = "pipelines.check_releases"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    environment: Name = "production"
    pipeline: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000
