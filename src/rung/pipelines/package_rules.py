"""Decisions of packages: what differs, which environment comes before which, what approvals come to, whether runs are symmetric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from rung.pipelines.packaging import Asymmetry, FileChange, Package, PackageApproval, PackageApprovals, PackageContent, Release
from rung.pipelines.records import PipelineRun

_USUAL = ("dev", "test", "staging", "production")


def canonical(content: PackageContent) -> bytes:
    """The bytes a package's digest is of: JSON with sorted keys, alike on every machine."""
    return msgspec.json.encode(content, order="sorted")


def differences(before: PackageContent, after: PackageContent) -> tuple[FileChange, ...]:
    """In what two packages differ: facts, then pipelines with their parameters and steps, then files."""
    found: list[FileChange] = []
    for what in ("rung", "python", "lock"):
        old, new = getattr(before, what), getattr(after, what)
        if old != new:
            found.append(FileChange(what=what, name=what, before=old, after=new))
    found += _changed("module", dict.fromkeys(before.modules, "there"), dict.fromkeys(after.modules, "there"))
    old_pipelines, new_pipelines = ({p.name: p for p in side.pipelines} for side in (before, after))
    found += _changed("pipeline", dict.fromkeys(old_pipelines, "there"), dict.fromkeys(new_pipelines, "there"))
    for name in sorted(set(old_pipelines) & set(new_pipelines)):
        old, new = old_pipelines[name], new_pipelines[name]
        found += _changed("parameter", {f"{name}.{p.name}": p for p in old.params}, {f"{name}.{p.name}": p for p in new.params})
        found += _changed("step", {f"{name}.{s.key}": s for s in old.steps}, {f"{name}.{s.key}": s for s in new.steps})
    found += _changed("file", before.files, after.files)
    return tuple(found)


def _changed(what: Any, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[FileChange]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            yield FileChange(what=what, name=name[:1000], before=_short(old, new), after=_short(new, old))


def _short(value: Any, other: Any) -> str:
    """A value on one line; of a record only the fields in which it differs from the other side."""
    if value is None or isinstance(value, str):
        return value or ""
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    if other is not None and not isinstance(other, str):
        fields = {name: item for name, item in fields.items() if item != getattr(other, name)}
    return msgspec.json.encode(fields, order="sorted").decode()[:1000]


def before_environment(environment: str, declared: Iterable[str]) -> str | None:
    """The environment a package must have succeeded in before it may come to this one; None for the first.

    The usual names have the usual order, whatever the order in rung.toml; others come in the order they are declared.
    Before production is staging even where no other is declared.
    """
    known = list(declared)
    if environment in _USUAL:
        earlier = [name for name in _USUAL[1 : max(1, _USUAL.index(environment))] if name in known or name == "staging"]
        return earlier[-1] if earlier else None
    place = known.index(environment) if environment in known else 0
    return known[place - 1] if place > 0 and known[place - 1] != "dev" else None


def known_environments(declared: Iterable[str]) -> tuple[str, ...]:
    """Names that a release may go to: the usual ones, and those that rung.toml declares."""
    return tuple(dict.fromkeys((*_USUAL, *declared)))


def approvals_of(
    package: Package, environment: str, needed: int, given: Sequence[PackageApproval], *, asking: str | None
) -> PackageApprovals:
    """What approvals come to: each person counts once; never who made the package, nor who asks for its release."""
    standing = [held for held in given if held.revoked_at is None]
    newest = {held.by: held for held in standing}
    refused = sorted(held.by for held in newest.values() if held.rejected)
    counted = sorted(held.by for held in newest.values() if not held.rejected and held.by not in {package.created_by, asking})
    said = []
    if refused:
        said.append(f"It is rejected by {', '.join(refused)}.")
    if len(counted) < needed:
        said.append(f"It has {len(counted)} of {needed} approvals by others than who made it and who releases it.")
    return PackageApprovals(
        package=package.digest, environment=environment, needed=needed, counted=len(counted), approvals=tuple(given),
        missing=" ".join(said)[:1000],
    )  # fmt: skip


def counted_by(state: PackageApprovals, package: Package, asking: str) -> tuple[str, ...]:
    """Who let a package pass."""
    newest = {held.by: held for held in state.approvals if held.revoked_at is None}
    return tuple(sorted(by for by, held in newest.items() if not held.rejected and by not in {package.created_by, asking}))


def asymmetries(
    runs: Sequence[PipelineRun], later: Sequence[Release], earlier: Sequence[Release], earlier_name: str
) -> tuple[Asymmetry, ...]:
    """Runs of the later environment whose package had not succeeded in the earlier one when they were started."""
    released = {release.pipeline_run: release for release in later if release.pipeline_run}
    found: list[Asymmetry] = []
    for run in runs:
        release = released.get(run.id)
        found += _judged(
            run.pipeline, run.package, run.created_at, earlier, earlier_name, run_id=run.id, number=run.number,
            override=release.override_reason if release else "",
        )  # fmt: skip
    for release in later:
        if release.url:
            found += _judged(
                release.pipeline, release.package, release.created_at, earlier, earlier_name, run_id=release.pipeline_run, number=0,
                override=release.override_reason,
            )  # fmt: skip
    return tuple(sorted(found, key=lambda one: one.at, reverse=True))


def _judged(
    pipeline: str,
    package: str,
    at: datetime,
    earlier: Sequence[Release],
    earlier_name: str,
    *,
    run_id: str | None,
    number: int,
    override: str,
) -> Iterator[Asymmetry]:
    passed = [r for r in earlier if r.pipeline == pipeline and r.status == "succeeded" and r.ended_at is not None and r.ended_at <= at]
    if package and any(release.package == package for release in passed):
        return
    if not package:
        reason = "It ran from a working folder, not from a package."
    elif not passed:
        reason = f"No package of this pipeline had succeeded in {earlier_name}."
    else:
        reason = f"Its package had not succeeded in {earlier_name}; another one had."
    succeeded = tuple(dict.fromkeys(release.package for release in passed))[:5]
    yield Asymmetry(
        pipeline=pipeline, pipeline_run=run_id, number=number, package=package, succeeded=succeeded, reason=reason, at=at,
        override_reason=override,
    )  # fmt: skip
