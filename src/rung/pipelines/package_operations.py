"""Handlers of packages and releases."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

import msgspec

from rung.core.errors import Conflict, Denied, Invalid, NotFound
from rung.core.ids import new_id
from rung.core.requests import handles
from rung.core.settings import EnvironmentSettings
from rung.governance.lineage import link, node
from rung.governance.rules import may
from rung.governance.store import GovernanceStore
from rung.pipelines import packaging as p
from rung.pipelines.package_rules import (
    approvals_of,
    asymmetries,
    before_environment,
    canonical,
    counted_by,
    differences,
    known_environments,
)
from rung.pipelines.package_store import PackageStore
from rung.pipelines.project import CodeTree
from rung.pipelines.records import Cause, RunPipeline
from rung.pipelines.starting import start
from rung.storage.scope import Scope

_ENDED = {"succeeded", "failed", "cancelled"}


@handles(p.BuildPackage)
def build_package(request: p.BuildPackage, scope: Scope) -> Callable[[Scope], p.Package]:
    """The package. Raises Invalid for blobs that are not here, for paths that leave the folder, and without a pipeline."""
    content = request.content
    if not content.pipelines:
        raise Invalid("A package without a pipeline is of no use.", code="pipelines.empty_package", hint="Name a pipeline of the project.")
    for path in content.files:
        if path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise Invalid(f"{path!r} leaves the package's folder.", code="pipelines.bad_path", hint="Use relative paths without '..'.")
    missing = next((digest for digest in (content.lock, *content.files.values()) if not scope.blobs.exists(digest)), None)
    if missing is not None:
        raise Invalid(f"Blob {missing} of the package is not here.", code="pipelines.incomplete_package", hint="Upload its files first.")
    data = canonical(content)
    digest = scope.blobs.put(data)
    code = scope.blobs.put(msgspec.json.encode(CodeTree(files=content.files), order="sorted"))
    size = len(data) + sum(len(scope.blobs.get(blob)) for blob in {content.lock, *content.files.values()})

    def save(inside: Scope) -> p.Package:
        package = p.Package(
            digest=digest, pipelines=tuple(pipeline.name for pipeline in content.pipelines), rung=content.rung, python=content.python,
            files=len(content.files), size_bytes=size, lock=content.lock, lock_kind=content.lock_kind, created_at=inside.now,
            created_by=inside.who, git_commit=request.git_commit, git_dirty=request.git_dirty, origin=request.origin,
        )  # fmt: skip
        held = _store(inside).add(package, content)
        if held.created_at == package.created_at:
            for kind, key in (("code", code), ("lock", content.lock), ("git_commit", request.git_commit)):
                if key:
                    link(inside, node(kind, key), "packaged_in", node("package", digest))
        return held

    return save


@handles(p.GetPackage)
def get_package(request: p.GetPackage, scope: Scope) -> p.PackageDetail:
    """A package with content and releases. Raises NotFound, Conflict for too short a beginning."""
    store = _store(scope)
    package = store.get(request.package)
    return p.PackageDetail(package=package, content=store.content(package.digest), releases=store.releases(package=package.digest))


@handles(p.ListPackages)
def list_packages(request: p.ListPackages, scope: Scope) -> tuple[p.Package, ...]:
    """Packages, newest first."""
    return _store(scope).packages(request.pipeline, request.limit)


@handles(p.DiffPackages)
def diff_packages(request: p.DiffPackages, scope: Scope) -> p.PackageDiff:
    """What differs. Raises NotFound."""
    store = _store(scope)
    before, after = store.get(request.before).digest, store.get(request.after).digest
    return p.PackageDiff(before=before, after=after, changes=differences(store.content(before), store.content(after)))


@handles(p.ReleasePackage)
def release_package(request: p.ReleasePackage, scope: Scope) -> p.Release:
    """The release, its run queued. Raises NotFound; Invalid; Conflict for a rule not met; Denied for an override."""
    store, by = _store(scope), scope.who
    package = store.get(request.package)
    pipeline, place = _pipeline(package, request.pipeline), _place(scope, request.environment)
    state = _approvals(scope, package, request.environment, place)
    if state.missing:
        raise Conflict(
            f"Package {package.digest[7:19]} may not go to {request.environment}. {state.missing}",
            code="pipelines.not_approved",
            hint=f"Others approve it with `rung release approve {package.digest[7:19]} --to {request.environment}`.",
        )
    overridden = _overridden(scope, store, package, pipeline, request)
    release = p.Release(
        id=new_id(), package=package.digest, pipeline=pipeline, environment=request.environment, status="queued", created_at=scope.now,
        created_by=by, params=request.params, url=place.url, approved_by=counted_by(state, package, by),
        override_reason=request.override_reason if overridden else "", overridden=overridden,
    )  # fmt: skip
    if not place.url:
        cause = Cause(subject=release.id, reason=f"Package {package.digest[7:19]} was released to {request.environment}.")
        wish = RunPipeline(
            pipeline=pipeline, params=request.params, seed=request.seed, package=package.digest, environment=request.environment,
            cause=cause, held=request.held,
        )  # fmt: skip
        release = msgspec.structs.replace(release, pipeline_run=start(scope, wish).id)  # type: ignore[type-var]  # a Struct
        link(scope, node("package", package.digest), "released_as", node("pipeline_run", str(release.pipeline_run)))
    store.add_release(release)
    return release


@handles(p.SettleRelease)
def settle_release(request: p.SettleRelease, scope: Scope) -> p.Release:
    """The release with its end. Raises NotFound; Conflict for one that ran here or is settled."""
    store = _store(scope)
    release = store.release(request.id)
    if not release.url or release.status in _ENDED:
        where = "ran on this server" if not release.url else f"has {release.status} already"
        raise Conflict(f"Release {release.id} {where}.", code="pipelines.settled", hint="Its status is known here.")
    store.update_release(
        release.id, status=request.status, pipeline_run=request.pipeline_run, ended_at=scope.now if request.status in _ENDED else None
    )
    return store.release(release.id)


@handles(p.ListReleases)
def list_releases(request: p.ListReleases, scope: Scope) -> tuple[p.Release, ...]:
    """Releases, newest first. Raises NotFound for an unknown package."""
    store = _store(scope)
    package = None if request.package is None else store.get(request.package).digest
    return store.releases(package=package, pipeline=request.pipeline, environment=request.environment, limit=request.limit)


@handles(p.ApprovePackage)
def approve_package(request: p.ApprovePackage, scope: Scope) -> p.PackageApproval:
    """The approval. Raises NotFound; Denied for who made the package."""
    package, by = _store(scope).get(request.package), scope.who
    _place(scope, request.environment)
    if by == package.created_by:
        raise Denied(
            f"{by!r} made package {package.digest[7:19]} and cannot approve it.", code="pipelines.own_package", hint="Ask somebody else."
        )
    return _said(scope, package, request.environment, by, request.comment, rejected=False)


@handles(p.RejectPackage)
def reject_package(request: p.RejectPackage, scope: Scope) -> p.PackageApproval:
    """The rejection. Raises NotFound."""
    _place(scope, request.environment)
    return _said(scope, _store(scope).get(request.package), request.environment, scope.who, request.comment, rejected=True)


@handles(p.RevokePackageApproval)
def revoke_package_approval(request: p.RevokePackageApproval, scope: Scope) -> p.PackageApproval:
    """The approval, taken back. Raises NotFound; Denied for somebody else's without ``pipeline:manage``."""
    store = _store(scope)
    held = store.approval(request.id)
    if held.by != scope.who and not _may(scope, "pipeline:manage"):
        raise Denied(f"It was {held.by!r} who said so.", code="pipelines.not_yours", hint="Ask them, or a maintainer.")
    if held.revoked_at is None:
        store.revoke(held.id, scope.now)
    return store.approval(held.id)


@handles(p.ListPackageApprovals)
def list_package_approvals(request: p.ListPackageApprovals, scope: Scope) -> p.PackageApprovals:
    """Approvals and what is missing. Raises NotFound."""
    package, place = _store(scope).get(request.package), _place(scope, request.environment)
    given = _store(scope).approvals(package.digest, request.environment)
    return approvals_of(package, request.environment, place.approvals, given, asking=None)


@handles(p.CheckReleases)
def check_releases(request: p.CheckReleases, scope: Scope) -> p.SymmetryReport:
    """Whether production is what succeeded before it. Raises Invalid for an environment that has none before it."""
    _place(scope, request.environment)
    before = before_environment(request.environment, scope.settings.environments)
    if before is None:
        raise Invalid(f"No environment comes before {request.environment!r}.", code="pipelines.first_environment", hint="Check production.")
    store = _store(scope)
    runs = store.runs_in(request.environment, request.pipeline, request.limit)
    later = store.releases(environment=request.environment, pipeline=request.pipeline)
    found = asymmetries(runs, later, store.releases(environment=before), before)
    count = len(runs) + sum(bool(release.url) for release in later)
    return p.SymmetryReport(
        environment=request.environment, before=before, holds=not found, runs=count, asymmetries=found, checked_at=scope.now
    )


def _pipeline(package: p.Package, wanted: str | None) -> str:
    if wanted is None and len(package.pipelines) == 1:
        return package.pipelines[0]
    if wanted not in package.pipelines:
        known = ", ".join(package.pipelines)
        if wanted is None:
            raise Invalid(
                f"Package {package.digest[7:19]} has several pipelines.", code="pipelines.which_pipeline", hint=f"Name one of {known}."
            )
        raise NotFound(
            f"Package {package.digest[7:19]} has no pipeline {wanted!r}.", code="pipelines.not_packaged", hint=f"It has: {known}."
        )
    return wanted


def _place(scope: Scope, environment: str) -> EnvironmentSettings:
    """What is set of an environment. Raises Invalid for one that nobody declared."""
    known = known_environments(scope.settings.environments)
    if environment not in known:
        near = get_close_matches(environment, known, n=1)
        raise Invalid(
            f"There is no environment {environment!r}.",
            code="pipelines.no_environment",
            hint=f"Did you mean {near[0]!r}?" if near else f"Declare [environments.{environment}] in rung.toml. Known: {', '.join(known)}.",
        )
    return scope.settings.environments.get(environment, EnvironmentSettings())


def _approvals(scope: Scope, package: p.Package, environment: str, place: EnvironmentSettings) -> p.PackageApprovals:
    given = _store(scope).approvals(package.digest, environment)
    return approvals_of(package, environment, place.approvals, given, asking=scope.who)


def _overridden(scope: Scope, store: PackageStore, package: p.Package, pipeline: str, request: p.ReleasePackage) -> tuple[str, ...]:
    """Rules that the release breaks with a reason. Raises Conflict without one, Denied for one who may not."""
    before = before_environment(request.environment, scope.settings.environments)
    if before is None:
        return ()
    earlier = store.releases(package=package.digest, pipeline=pipeline, environment=before)
    if any(release.status == "succeeded" for release in earlier):
        return ()
    state = f"its newest run there has {earlier[0].status}" if earlier else "it was never released there"
    if not request.override_reason:
        raise Conflict(
            f"Package {package.digest[7:19]} has not succeeded in {before}: {state}.",
            code="pipelines.not_proven",
            hint=f"`rung release {package.digest[7:19]} --to {before}` first, or give a reason with --override.",
        )
    if not _may(scope, "pipeline:override"):
        raise Denied(
            f"{scope.who!r} may not release past {before}: it needs pipeline:override.",
            code="pipelines.no_override",
            hint=f"Ask a maintainer, or release it to {before} first.",
        )
    return (f"It has not succeeded in {before}: {state}.",)


def _said(scope: Scope, package: p.Package, environment: str, by: str, comment: str, *, rejected: bool) -> p.PackageApproval:
    store = _store(scope)
    for held in store.approvals(package.digest, environment):
        if held.by == by and held.revoked_at is None:
            store.revoke(held.id, scope.now)
    approval = p.PackageApproval(
        id=new_id(), package=package.digest, environment=environment, by=by, created_at=scope.now, comment=comment, rejected=rejected
    )
    store.add_approval(approval)
    link(scope, node("principal", by), "rejected" if rejected else "approved", node("package", package.digest))
    return approval


def _may(scope: Scope, permission: str) -> bool:
    return may(GovernanceStore(scope.connection).role_of(scope.project, scope.principal), permission)


def _store(scope: Scope) -> PackageStore:
    return PackageStore(scope.connection, scope.project)
