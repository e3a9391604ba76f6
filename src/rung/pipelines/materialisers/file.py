"""Files and folders: a ``Path`` that a step returns is kept with its name, and is a fresh copy where it is read."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

from rung.core.digests import digest_of_file
from rung.core.errors import Invalid
from rung.core.ids import new_id
from rung.pipelines import artifacts
from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Payload


@MATERIALISERS.member("file")
class File:
    """pathlib.Path of a file, or of a folder of files; the artifact type File."""

    rank = 85

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is a path or a file."""
        return isinstance(value, (Path, artifacts.File))

    @staticmethod
    def dump(value: Any) -> Payload:
        """The file's bytes; for a folder, a tar in order of names without times and owners."""
        if isinstance(value, artifacts.File):
            if not value.path.is_file():
                raise Invalid(f"{value.path} is no file.", code="pipelines.unserialisable", hint="Write the file before the step returns.")
            return Payload(value.path, {"name": value.name, "media_type": value.media_type, "type": "File"})
        if value.is_file():
            return Payload(value, {"name": value.name})
        if value.is_dir():
            return Payload(_packed(value), {"name": value.name, "folder": True})
        raise Invalid(f"{value} does not exist.", code="pipelines.unserialisable", hint="Return the path of a file that the step wrote.")

    @staticmethod
    def load(payload: Payload, scratch: Path) -> Path | artifacts.File:
        """The path of a fresh copy, as a File where it was one."""
        place = scratch / new_id()
        place.mkdir(parents=True)
        target = place / Path(str(payload.meta["name"])).name
        if payload.meta.get("folder"):
            data = payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                archive.extractall(target, filter="data")
        elif isinstance(payload.data, bytes):
            target.write_bytes(payload.data)
        else:
            shutil.copyfile(payload.data, target)
        if payload.meta.get("type") == "File":
            return artifacts.File(target, str(payload.meta.get("media_type", "")))
        return target

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Equal bytes, file by file."""
        first, second = _digests(Path(original)), _digests(Path(repeated))
        changed = sorted(name for name in {**first, **second} if first.get(name) != second.get(name))
        return Difference("different", f"{', '.join(changed)} differ") if changed else Difference("identical", "The files are equal.")


def _packed(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            info = tarfile.TarInfo(str(path.relative_to(folder)))
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            elif path.is_file():
                info.size, info.mode = path.stat().st_size, 0o644
                with path.open("rb") as file:
                    archive.addfile(info, file)
    return buffer.getvalue()


def _digests(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if p.is_file()]
    return {path.name if file == path else str(file.relative_to(path)): digest_of_file(file)[0] for file in files}
