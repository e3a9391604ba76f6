"""Packages and releases from Python."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rung.client.pipelines import Listener, PipelinesVerbs
from rung.client.transports import HttpTransport, Transport
from rung.core.errors import Unavailable
from rung.core.settings import Settings, load_settings
from rung.pipelines import packaging as p
from rung.pipelines.packaged import content_of, exported, imported
from rung.pipelines.project import load_project
from rung.pipelines.records import PipelineRun, RunPipeline


class PackagesVerbs:
    """Verbs of packages: build one from the project's folder, carry it, release it to an environment."""

    def __init__(self, transport: Transport, pipelines: Callable[[], PipelinesVerbs] | None = None) -> None:
        self._transport = transport
        self._pipelines = pipelines or (lambda: PipelinesVerbs(transport))

    def build(self, *pipelines: str, freeze: bool = False) -> p.Package:
        """A package of pipelines of the project in this folder, all by default; the same content is the same package.

        Args:
            pipelines: names of pipelines.
            freeze: for a project without a lock, package the list of what is installed here.

        Raises:
            NotFound: there is no such pipeline. Invalid: there is no lock.
        """
        from rung.pipelines.environment import git_state  # noqa: PLC0415 - starts git; only building asks it

        settings = self._settings()
        project = load_project(settings)
        content = content_of(project, pipelines, settings, self._transport.put_blob, freeze=freeze)
        commit, dirty = git_state(project.folder)
        return self._transport.call(p.BuildPackage(content=content, git_commit=commit, git_dirty=dirty))

    def get(self, package: str) -> p.PackageDetail:
        """A package with content and releases, by its digest or the beginning of it. Raises NotFound."""
        return self._transport.call(p.GetPackage(package=package))

    def list(self, pipeline: str | None = None, *, limit: int = 50) -> tuple[p.Package, ...]:
        """Packages, newest first."""
        return self._transport.call(p.ListPackages(pipeline=pipeline, limit=limit))

    def diff(self, before: str, after: str) -> p.PackageDiff:
        """In what two packages differ."""
        return self._transport.call(p.DiffPackages(before=before, after=after))

    def export_to(self, package: str, path: Path | str) -> Path:
        """Write a package to a file that another server can import."""
        target = Path(path)
        target.write_bytes(exported(self.get(package).content, self._transport.get_blob))
        return target

    def import_from(self, path: Path | str) -> p.Package:
        """Read a package from a file; every blob is held against its digest. Raises Invalid for a file that was changed."""
        content = imported(Path(path).read_bytes(), self._transport.put_blob)
        return self._transport.call(p.BuildPackage(content=content, origin=f"file {Path(path).name}"))

    def release(
        self, package: str, to: str, *, pipeline: str | None = None, params: dict[str, Any] | None = None, seed: int = 0,
        override_reason: str = "", wait: bool = True, listener: Listener | None = None,
    ) -> p.Release:  # fmt: skip
        """Run a package in an environment, here or on the server that rung.toml names for it, and answer the release.

        Raises:
            Conflict: it has not succeeded in the environment before, or lacks approvals. Denied: an override by one who may not.
        """
        pipelines = self._pipelines()
        wish = p.ReleasePackage(
            package=package, environment=to, pipeline=pipeline, params=params or {}, seed=seed, override_reason=override_reason,
            held=pipelines.owner() if wait and not self._is_elsewhere(to) else None,
        )  # fmt: skip
        release = self._transport.call(wish)
        if release.url:
            return self._elsewhere(release, seed=seed, wait=wait, listener=listener)
        if wait:
            pipelines.finish(str(release.pipeline_run), listener=listener)
        return self._found(release)

    def releases(
        self, package: str | None = None, *, pipeline: str | None = None, environment: str | None = None, limit: int = 50
    ) -> tuple[p.Release, ...]:
        """Releases, newest first."""
        return self._transport.call(p.ListReleases(package=package, pipeline=pipeline, environment=environment, limit=limit))

    def approve(self, package: str, environment: str, *, comment: str = "") -> p.PackageApproval:
        """Approve a package for an environment."""
        return self._transport.call(p.ApprovePackage(package=package, environment=environment, comment=comment))

    def reject(self, package: str, environment: str, *, comment: str) -> p.PackageApproval:
        """Say no to a package in an environment."""
        return self._transport.call(p.RejectPackage(package=package, environment=environment, comment=comment))

    def revoke(self, approval: str) -> p.PackageApproval:
        """Take an approval or rejection back."""
        return self._transport.call(p.RevokePackageApproval(id=approval))

    def approvals(self, package: str, environment: str) -> p.PackageApprovals:
        """Approvals of a package for an environment, and what is missing."""
        return self._transport.call(p.ListPackageApprovals(package=package, environment=environment))

    def check(self, environment: str = "production", *, pipeline: str | None = None) -> p.SymmetryReport:
        """Whether what ran in an environment is what had succeeded in the one before."""
        return self._transport.call(p.CheckReleases(environment=environment, pipeline=pipeline))

    def _elsewhere(self, release: p.Release, *, seed: int, wait: bool, listener: Listener | None) -> p.Release:
        """Bring the package to the environment's own server, run it there, and enter here how it ended."""
        there = HttpTransport(release.url, _token(release.environment))
        try:
            content = self.get(release.package).content
            for digest in {content.lock, *content.files.values()}:
                there.put_blob(self._transport.get_blob(digest))
            there.call(p.BuildPackage(content=content, origin=f"release {release.id}"))
            run = there.call(
                RunPipeline(
                    pipeline=release.pipeline, params=release.params, seed=seed, package=release.package, environment=release.environment
                )
            )
            ended: PipelineRun = PipelinesVerbs(there).follow(run.id, listener=listener) if wait else run
        except Unavailable:
            self._transport.call(p.SettleRelease(id=release.id, status="failed"))
            raise
        finally:
            there.close()
        return self._transport.call(p.SettleRelease(id=release.id, pipeline_run=ended.id, status=ended.status))

    def _found(self, release: p.Release) -> p.Release:
        return next(held for held in self.releases(release.package) if held.id == release.id)

    def _is_elsewhere(self, environment: str) -> bool:
        settings = self._settings()
        return bool(environment in settings.environments and settings.environments[environment].url)

    def _settings(self) -> Settings:
        platform = getattr(self._transport, "platform", None)
        return platform.settings if platform is not None else load_settings()


def _token(environment: str) -> str:
    """The token for another environment's server: RUNG_TOKEN_<ENVIRONMENT>, else RUNG_TOKEN."""
    own = "RUNG_TOKEN_" + environment.upper().replace("-", "_").replace(".", "_")
    return os.environ.get(own) or os.environ.get("RUNG_TOKEN", "")
