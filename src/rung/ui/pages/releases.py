"""Packages and releases: which digest of code, lock and plan ran where, who approved it, and whether production runs what was tried."""

from __future__ import annotations

from collections.abc import Sequence

from rung.core.errors import RungError
from rung.pipelines.packaging import (
    CheckReleases,
    DiffPackages,
    GetPackage,
    ListPackageApprovals,
    ListPackages,
    ListReleases,
    Package,
    PackageApprovals,
    PackageDetail,
    Release,
    SymmetryReport,
)
from rung.ui import words
from rung.ui.blocks import Empty, Facts, Page, Part, Table, Visit, Words
from rung.ui.pages.pipelines import tabs
from rung.ui.words import MISSING, digest, joined, link, pill, when

_RELEASES = ("when", "package", "pipeline", "to", "state", "run", "by", "approved by", "why against the rule")
_MOST_FILES = 500


def packages(visit: Visit) -> Page:
    """Every package, every release, and a warning where an environment ran what had not been tried before."""
    held = visit.ask(ListPackages(limit=100))
    releases = visit.find(ListReleases(limit=200)) or ()
    if not held and not releases:
        blank = Empty(
            "A package is a pipeline's code, lock and plan under one digest: tried in staging, it goes to production unchanged.",
            "rung package build",
        )
        return Page("Packages", "Nothing was packaged yet.", [tabs("/packages"), blank], "rung package build", {"packages": ()})
    reports = _symmetry(visit, releases)
    broken = sum(len(report.asymmetries) for report in reports)
    blocks: list[object] = [tabs("/packages")]
    for report in reports:
        blocks += _warnings(report)
    rows = [_package(package) for package in held]
    blocks.append(Table(("package", "pipelines", "made", "by", "commit", "files", "size", "Python", "from"), rows, "Packages"))
    blocks.append(
        Table(_RELEASES, [_release(release) for release in releases], "Releases", "" if releases else "None was released so far.")
    )
    head = f"{words.many(len(held), 'package')}, {words.many(len(releases), 'release')}; "
    head += (
        f"{words.many(broken, 'run')} did not use what had been tried before."
        if broken
        else "every environment ran what had been tried before it."
    )
    return Page("Packages", head, blocks, "rung release list", {"packages": held, "releases": releases, "symmetry": reports})


def package(visit: Visit) -> Page:
    """One package by its digest or the beginning of it: its content, where it went, in what it differs from the one before. Raises NotFound."""
    detail = visit.ask(GetPackage(package=visit.path["package"]))
    held, content = detail.package, detail.content
    facts: list[tuple[str, object]] = [
        ("digest", words.code(held.digest)), ("pipelines", joined([link(name, "pipelines", name) for name in held.pipelines], ", ")),
        ("made", when(held.created_at)), ("by", held.created_by), ("from", held.origin), ("commit", digest(held.git_commit) + (" with changes" if held.git_dirty else "")),
        ("Rung", held.rung), ("Python", held.python), ("lock", joined([digest(held.lock), held.lock_kind])), ("size", words.size(held.size_bytes)),
        ("lineage", link("what came of it", "lineage", "package", held.digest)),
    ]  # fmt: skip
    blocks: list[object] = [tabs(""), Facts([(name, value) for name, value in facts if value != ""], wide=True)]
    blocks.append(
        Table(
            _RELEASES,
            [_release(release) for release in detail.releases],
            "Releases",
            "" if detail.releases else "It was not released so far.",
        )
    )
    blocks += _approvals(visit, detail)
    for pipeline in content.pipelines:
        params = ", ".join(f"{spec.name}: {spec.type}" for spec in pipeline.params) or "no parameters"
        blocks.append(
            Words(words.prose(f"{pipeline.doc or pipeline.target} ({words.many(len(pipeline.steps), 'step')}; {params})"), pipeline.name)
        )
    files = [(path, digest(value)) for path, value in list(content.files.items())[:_MOST_FILES]]
    note = f"The first {_MOST_FILES} of {len(content.files):,}." if len(content.files) > len(files) else ""
    blocks.append(Table(("file", "digest"), files, f"Files ({len(content.files):,})", note, folded=True))
    blocks += _difference(visit, detail)
    where = sorted({release.environment for release in detail.releases if release.status == "succeeded"})
    head = f"{', '.join(held.pipelines)} in {held.digest.removeprefix('blake3:')[:12]}: " + (
        f"succeeded in {', '.join(where)}." if where else "it has succeeded nowhere so far."
    )
    return Page("Package", head, blocks, f"rung package show {held.digest.removeprefix('blake3:')[:12]}", {"package": detail})


def _symmetry(visit: Visit, releases: Sequence[Release]) -> list[SymmetryReport]:
    """What each environment ran against the one before it; environments without one before are left out."""
    found = []
    for environment in sorted({release.environment for release in releases}):
        try:
            found.append(visit.ask(CheckReleases(environment=environment)))
        except RungError:
            continue  # the first environment has none before it
    return found


def _warnings(report: SymmetryReport) -> list[object]:
    if not report.asymmetries:
        return []
    rows = [
        (
            when(a.at), a.pipeline, link(f"{a.pipeline}:{a.number}", "pipeline-runs", a.pipeline_run) if a.pipeline_run else MISSING,
            _short(a.package) if a.package else "no package", joined([_short(p) for p in a.succeeded[:5]], ", ") if a.succeeded else "nothing", a.reason,
            a.override_reason or MISSING,
        )
        for a in report.asymmetries[:100]
    ]  # fmt: skip
    said = joined(
        [
            pill("warning", "warn"),
            f"{len(report.asymmetries)} of {words.many(report.runs, 'run')} in {report.environment} used something else than what had succeeded in {report.before}.",
        ]
    )
    columns = ("when", "pipeline", "run", "ran with", f"tried in {report.before}", "why it counts", "reason given")
    return [Words(said, f"Not the same in {report.environment} as in {report.before}"), Table(columns, rows)]


def _package(held: Package) -> tuple[object, ...]:
    return (
        _short(held.digest), ", ".join(held.pipelines), when(held.created_at), held.created_by, digest(held.git_commit) + (" with changes" if held.git_dirty else ""),
        held.files, words.size(held.size_bytes), held.python, held.origin or MISSING,
    )  # fmt: skip


def _release(held: Release) -> tuple[object, ...]:
    run = link("run", "pipeline-runs", held.pipeline_run) if held.pipeline_run and not held.url else held.url or MISSING
    return (
        when(held.created_at), _short(held.package), link(held.pipeline, "pipelines", held.pipeline), held.environment, pill(held.status), run, held.created_by,
        ", ".join(held.approved_by) or MISSING, held.override_reason or MISSING,
    )  # fmt: skip


def _approvals(visit: Visit, detail: PackageDetail) -> list[object]:
    """For each environment it went to: who said yes or no, and what is missing; with a form for who may."""
    blocks: list[object] = []
    for environment in sorted({release.environment for release in detail.releases} | {"production"}):
        held: PackageApprovals | None = visit.find(ListPackageApprovals(package=detail.package.digest, environment=environment))
        if held is None or (not held.needed and not held.approvals):
            continue
        rows = [
            (
                when(a.created_at),
                pill("rejected" if a.rejected else "approved", "bad" if a.rejected else "ok"),
                a.by,
                a.comment or MISSING,
                when(a.revoked_at),
            )
            for a in held.approvals
        ]
        note = f"{held.counted} of {held.needed} that are needed." + (f" {held.missing}" if held.missing else "")
        blocks.append(Table(("when", "said", "by", "comment", "taken back"), rows, f"Approvals for {environment}", note))
        if visit.may("pipeline:promote"):
            hidden = {"package": detail.package.digest, "environment": environment}
            forms = [
                {"action": f"/act/{act}-package", "label": label, "hidden": hidden, "fields": [("comment", "Comment", "")], "quiet": True}
                for act, label in (("approve", f"Approve for {environment}"), ("reject", f"Reject for {environment}"))
            ]
            blocks.append(Part("acts.html", {"forms": forms, "links": ()}))
    return blocks


def _difference(visit: Visit, detail: PackageDetail) -> list[object]:
    """In what it differs from the package of the same pipeline before it."""
    others = visit.find(ListPackages(pipeline=detail.package.pipelines[0], limit=100)) if detail.package.pipelines else None
    before = next((p for p in others or () if p.created_at < detail.package.created_at), None)
    found = visit.find(DiffPackages(before=before.digest, after=detail.package.digest)) if before else None
    if before is None or found is None:
        return []
    rows = [(change.what, change.name, _value(change.before), _value(change.after)) for change in found.changes[:300]]
    return [
        Table(("what", "which", "before", "now"), rows, "Since the package before", "" if rows else "Nothing."),
        Words(joined(["The one before is", _short(before.digest)])),
    ]


def _value(text: str) -> object:
    return digest(text) if text.startswith("blake3:") else text or MISSING


def _short(held: str) -> object:
    return link(held.removeprefix("blake3:")[:12], "packages", held)
