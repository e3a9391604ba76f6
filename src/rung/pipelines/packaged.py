"""From a project's folder to the content of a package, to a file that can be carried, and back to a folder.

Only what is in the folder counts: no instant, no path and no name of this machine, so that packaging the same folder
elsewhere gives the same digest. ``rung.toml`` stays out: a package finds the environment's own settings where it runs.
"""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from rung import __version__
from rung.core.digests import digest_of
from rung.core.errors import Invalid
from rung.core.records import prepared
from rung.core.settings import Settings
from rung.pipelines.describing import described
from rung.pipelines.environment import environment_of
from rung.pipelines.package_rules import canonical
from rung.pipelines.packaging import PackageContent, PackagedPipeline
from rung.pipelines.project import Project
from rung.pipelines.records import ParamSpec

SETTINGS = "rung.toml"
FROZEN = "requirements.lock"  # what a list of installed distributions becomes where the package runs
_CONTENT, _BLOBS = "package.json", "blobs/"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LARGEST = 2 << 30
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def content_of(
    project: Project, names: Iterable[str], settings: Settings, put: Callable[[bytes], str], *, freeze: bool = False
) -> PackageContent:
    """The content of a package with some pipelines of a project, all by default; its files are put as blobs.

    Raises:
        NotFound: the project has no such pipeline.
        Invalid: it has no pipeline at all, or no lock; ``freeze`` takes the list of what is installed here instead.
    """
    wanted = list(dict.fromkeys(names)) or sorted(project.pipelines)
    if not wanted:
        raise Invalid(
            f"The project in {project.folder} has no pipeline.", code="pipelines.empty_package", hint="Write one with @rung.pipeline."
        )
    environment = environment_of(project.folder)
    if environment.kind == "installed" and not freeze:
        raise Invalid(
            f"The project in {project.folder} has no lock, so its package would run with whatever is installed.",
            code="pipelines.no_lock",
            hint="Write one with `uv lock` or `uv pip freeze > requirements.lock`, or package what is installed here with --freeze.",
        )
    files = {
        file.relative_to(project.folder).as_posix(): put(file.read_bytes())
        for file in project.files if file.relative_to(project.folder).as_posix() != SETTINGS
    }  # fmt: skip
    return PackageContent(
        rung=__version__, python=f"{sys.version_info.major}.{sys.version_info.minor}", modules=settings.pipelines,
        pipelines=tuple(_packaged(project, name) for name in sorted(wanted)), files=dict(sorted(files.items())),
        lock=put(environment.text), lock_kind=environment.kind,
    )  # fmt: skip


def restore_package(content: PackageContent, get: Callable[[str], bytes], into: Path) -> None:
    """Write a package's files into a folder, with settings that name its modules."""
    for path, digest in content.files.items():
        file = into / path
        if not file.resolve().is_relative_to(into.resolve()):
            raise Invalid(f"{path!r} leaves the package's folder.", code="pipelines.bad_path", hint="This package was not made by Rung.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(get(digest))
    if content.lock_kind == "installed":
        (into / FROZEN).write_text(without_rung(get(content.lock)), "utf-8")
    modules = ", ".join(msgspec.json.encode(module).decode() for module in content.modules)
    (into / SETTINGS).write_text(f"pipelines = [{modules}]\n", "utf-8")


def without_rung(installed: bytes) -> str:
    """A list of installed distributions as requirements, without those that run the steps rather than are used by them."""
    kept = [line for line in installed.decode().splitlines() if not line.startswith(("rung==", "pip==", "setuptools==", "wheel=="))]
    return "\n".join(kept) + "\n"


def exported(content: PackageContent, get: Callable[[str], bytes]) -> bytes:
    """The package as one file: its canonical content and every blob under its digest; equal packages give equal files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _entry(archive, _CONTENT, canonical(content))
        for digest in sorted({content.lock, *content.files.values()}):
            _entry(archive, _BLOBS + digest.partition(":")[2], get(digest))
    return buffer.getvalue()


def imported(data: bytes, put: Callable[[bytes], str]) -> PackageContent:
    """The content of such a file; its blobs are put. Raises Invalid for a file that is none, lacks a blob or was changed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > _LARGEST:
                raise _bad("it unpacks to more than 2 GiB")
            parts = {info.filename: archive.read(info) for info in archive.infolist()}
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise _bad(str(error)) from None
    try:
        content = msgspec.json.decode(parts.pop(_CONTENT), type=prepared(PackageContent))
    except KeyError:
        raise _bad(f"it has no {_CONTENT}") from None
    except msgspec.MsgspecError as error:
        raise _bad(f"{_CONTENT}: {error}") from None
    wanted = {content.lock, *content.files.values()}
    for digest in sorted(wanted):
        held = parts.get(_BLOBS + digest.partition(":")[2])
        if held is None:
            raise _bad(f"blob {digest} is missing")
        if digest_of(held) != digest:
            raise _bad(f"blob {digest} was changed: its bytes are {digest_of(held)}")
        put(held)
    return content


def _packaged(project: Project, name: str) -> PackagedPipeline:
    info = described(project.pipeline(name), code="", now=datetime(1970, 1, 1, tzinfo=UTC))
    return PackagedPipeline(
        name=info.name, target=info.target, doc=info.doc, params=tuple(_settled(spec) for spec in info.params), steps=info.steps
    )


def _settled(spec: ParamSpec) -> ParamSpec:
    """Without the address in memory that a default's text may hold."""
    default: Any = _ADDRESS.sub("", spec.default) if isinstance(spec.default, str) else spec.default
    return msgspec.structs.replace(spec, default=default)  # type: ignore[type-var]  # a Struct


def _entry(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3  # else the file tells on which system it was written
    archive.writestr(info, data, compress_type=zipfile.ZIP_DEFLATED, compresslevel=6)


def _bad(why: str) -> Invalid:
    return Invalid(f"The file is no whole package: {why}.", code="pipelines.bad_package", hint="Export it again with `rung package --out`.")
