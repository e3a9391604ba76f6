"""A folder ``mlruns`` as MLflow's file store writes it, of any age: a folder an experiment, a run, a registered model.

Values are files, keys their paths below ``params``, ``tags`` and ``metrics``. Links are not followed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rung.client.importing.places import local_files
from rung.client.importing.source import (
    Point,
    SourceExperiment,
    SourceFile,
    SourceInput,
    SourceLogged,
    SourceMetric,
    SourceModel,
    SourceRun,
    SourceVersion,
)
from rung.core.errors import Invalid, NotFound
from rung.registry.bounded_yaml import read_yaml, text_of

_META, _TRASH, _MODELS = "meta.yaml", ".trash", "models"
_NOT_RUNS = {"tags", "datasets", "traces", "models"}
_STATUS_NUMBERS = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
_LOGGED_NUMBERS = {"1": "LOGGED_MODEL_PENDING", "2": "LOGGED_MODEL_READY", "3": "LOGGED_MODEL_UPLOAD_FAILED"}
_LARGEST_VALUE = 1 << 20
_PIECE = 10_000
_METRIC_FIELDS = (2, 3, 5)
_STEP, _DATASET = 2, 3


class FolderSource:
    """A file store below one folder. Raises NotFound for a folder that is none."""

    def __init__(self, root: Path, destination: Path | None = None) -> None:
        self.name = str(root)
        self.damage: Callable[[str], None] = lambda _: None
        self._root = root.resolve()
        self._destination = destination
        self._folders: dict[str, Path] = {}
        if not any(path.name == _META for path in self._root.glob("*/" + _META)):
            raise NotFound(
                f"{root} holds no experiments.", code="import.no_mlruns", hint="Name the folder that holds 0/meta.yaml, usually mlruns."
            )

    def experiments(self) -> Sequence[SourceExperiment]:
        """Experiments by id, those in the trash too."""
        found = []
        for parent, deleted in ((self._root, False), (self._root / _TRASH, True)):
            for folder in _folders(parent):
                if not deleted and folder.name in {_TRASH, _MODELS}:
                    continue
                meta = self._meta(folder, f"experiment {folder.name}")
                if meta is not None and folder.name not in self._folders:
                    self._folders[folder.name] = folder
                    found.append(
                        SourceExperiment(
                            id=folder.name, name=text_of(meta.get("name")) or folder.name, tags=_values(folder / "tags"),
                            created_ms=_number(meta.get("creation_time")), updated_ms=_number(meta.get("last_update_time")),
                            deleted=deleted or text_of(meta.get("lifecycle_stage")) == "deleted",
                        )
                    )  # fmt: skip
        return sorted(found, key=lambda item: (len(item.id), item.id))

    def count(self, experiment: SourceExperiment, since_ms: int | None) -> int | None:
        """How many folders of runs there are."""
        return None if since_ms else sum(1 for _ in self._run_folders(experiment))

    def runs(self, experiment: SourceExperiment, since_ms: int | None) -> Iterator[SourceRun]:
        """Runs of an experiment, by id."""
        datasets = {
            folder.name: self._meta(folder, f"dataset {folder.name}") for folder in _folders(self._folders[experiment.id] / "datasets")
        }
        for folder in self._run_folders(experiment):
            meta = self._meta(folder, f"run {folder.name}")
            if meta is None:
                continue
            try:
                run = self._run(folder, meta, datasets)
            except (OSError, UnicodeDecodeError, ValueError) as error:
                self.damage(f"run {folder.name}: {error}")
                continue
            if not since_ms or (run.started_ms or 0) >= since_ms:
                yield run

    def logged_models(self, experiment: SourceExperiment) -> Iterator[SourceLogged]:
        """Logged models of an experiment."""
        for folder in _folders(self._folders[experiment.id] / _MODELS):
            meta = self._meta(folder, f"logged model {folder.name}")
            if meta is None:
                continue
            status = text_of(meta.get("status"))
            yield SourceLogged(
                id=text_of(meta.get("model_id")) or folder.name, name=text_of(meta.get("name")), type=text_of(meta.get("model_type")),
                status=_LOGGED_NUMBERS.get(status, status), run=text_of(meta.get("source_run_id")), user="",
                created_ms=_number(meta.get("creation_timestamp")), updated_ms=_number(meta.get("last_updated_timestamp")),
                deleted=text_of(meta.get("lifecycle_stage")) == "deleted", artifact_uri=self._place(meta.get("artifact_location"), folder),
                params=_values(folder / "params"), tags=_values(folder / "tags"), metrics=tuple(self._model_metrics(folder)),
            )  # fmt: skip

    def models(self) -> Iterator[SourceModel]:
        """Registered models."""
        for folder in _folders(self._root / _MODELS):
            meta = self._meta(folder, f"model {folder.name}")
            if meta is None:
                continue
            given = meta.get("aliases")
            aliases: dict[str, str] = {**(given if isinstance(given, dict) else {}), **_values(folder / "aliases")}
            yield SourceModel(
                name=text_of(meta.get("name")) or folder.name, description=text_of(meta.get("description")), user=text_of(meta.get("user_id")),
                created_ms=_number(meta.get("creation_timestamp")), updated_ms=_number(meta.get("last_updated_timestamp")),
                tags=_values(folder / "tags"), aliases={name: int(number) for name, number in aliases.items() if number.isdecimal()},
                versions=tuple(self._versions(folder)),
            )  # fmt: skip

    def files(self, owner: str, artifact_uri: str) -> Iterator[SourceFile]:
        """Artifacts beside the run's or model's own files, or where its address says, inside of this folder."""
        yield from local_files(owner, artifact_uri, self._destination, None if self._destination else self._root)

    def close(self) -> None:
        """Nothing is open."""

    def _run_folders(self, experiment: SourceExperiment) -> Iterator[Path]:
        return (folder for folder in _folders(self._folders[experiment.id]) if folder.name not in _NOT_RUNS)

    def _meta(self, folder: Path, whose: str) -> Mapping[str, Any] | None:
        try:
            return read_yaml((folder / _META).read_bytes(), f"{folder.name}/{_META}")
        except (OSError, Invalid) as error:
            self.damage(f"{whose}: {error}")
            return None

    def _run(self, folder: Path, meta: Mapping[str, Any], datasets: Mapping[str, Any]) -> SourceRun:
        status = text_of(meta.get("status"))
        tags = _values(folder / "tags")
        if text_of(meta.get("source_version")):
            tags.setdefault("mlflow.source.git.commit", text_of(meta.get("source_version")))
        if text_of(meta.get("source_name")):
            tags.setdefault("mlflow.source.name", text_of(meta.get("source_name")))
        deleted = text_of(meta.get("lifecycle_stage")) == "deleted"
        run = text_of(meta.get("run_id")) or text_of(meta.get("run_uuid")) or folder.name
        return SourceRun(
            id=run, name=text_of(meta.get("run_name")) or text_of(meta.get("name")), status=_STATUS_NUMBERS.get(status, status),
            user=text_of(meta.get("user_id")), started_ms=_number(meta.get("start_time")), ended_ms=_number(meta.get("end_time")),
            deleted=deleted, deleted_ms=_number(meta.get("deleted_time")), artifact_uri=self._place(meta.get("artifact_uri"), folder),
            params=_values(folder / "params"), tags=tags, inputs=tuple(self._inputs(folder, datasets)), models=tuple(self._models(folder)),
            points=lambda: self._points(folder),
        )  # fmt: skip

    def _place(self, given: Any, folder: Path) -> str:
        """The folder's own artifacts where they are, for mlruns folders are copied about; else the address it was given."""
        own = folder / "artifacts"
        return str(own) if own.is_dir() else text_of(given) or str(own)

    def _inputs(self, folder: Path, datasets: Mapping[str, Any]) -> Iterator[SourceInput]:
        for item in _folders(folder / "inputs"):
            meta = self._meta(item, f"input of run {folder.name}")
            dataset = datasets.get(text_of(meta.get("source_id"))) if meta else None
            if meta is None or text_of(meta.get("source_type")) != "DATASET":
                continue
            if dataset is None:
                self.damage(f"run {folder.name}: the dataset of an input is missing")
                continue
            tags = meta.get("tags")
            yield SourceInput(
                name=text_of(dataset.get("name")), digest=text_of(dataset.get("digest")), source_type=text_of(dataset.get("source_type")),
                source=text_of(dataset.get("source")), schema=text_of(dataset.get("schema")), profile=text_of(dataset.get("profile")),
                tags={key: str(value) for key, value in tags.items()} if isinstance(tags, dict) else {},
            )  # fmt: skip

    def _models(self, folder: Path) -> Iterator[tuple[str, str, int]]:
        for name, direction in (("inputs", "in"), ("outputs", "out")):
            for item in _folders(folder / name):
                meta = self._meta(item, f"models of run {folder.name}")
                if meta and text_of(meta.get("destination_type")) in {"MODEL_INPUT", "MODEL_OUTPUT"}:
                    yield direction, text_of(meta.get("destination_id")), _number(meta.get("step")) or 0

    def _points(self, folder: Path) -> Iterator[Sequence[Point]]:
        for key, path in _files(folder / "metrics"):
            seen: set[tuple[int, float | None, int]] = set()
            piece: list[Point] = []
            for value, step, at, _ in self._lines(path, f"run {folder.name}: metric {key!r}"):
                mark = (at, None if math.isnan(value) else value, step)  # NaN differs from itself
                if mark not in seen:
                    seen.add(mark)
                    piece.append((key, value, step, at))
                if len(piece) == _PIECE:
                    yield piece
                    piece = []
            yield piece

    def _model_metrics(self, folder: Path) -> Iterator[SourceMetric]:
        for key, path in _files(folder / "metrics"):
            for value, step, at, more in self._lines(path, f"logged model {folder.name}: metric {key!r}"):
                run, name, digest = (*more, "", "", "")[:3]
                yield SourceMetric(key=key, value=value, step=step, at_ms=at, run=run, dataset_name=name, dataset_digest=digest)

    def _lines(self, path: Path, whose: str) -> Iterator[tuple[float, int, int, list[str]]]:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                parts = text.split()
                try:
                    yield float(parts[1]), int(parts[_STEP]) if len(parts) > _STEP else 0, int(parts[0]), parts[_DATASET:]
                except (ValueError, IndexError):
                    if parts:
                        self.damage(f"{whose}: line {number} is no point: {text[:60].strip()!r}")

    def _versions(self, folder: Path) -> Iterator[SourceVersion]:
        for item in _folders(folder):
            if not item.name.startswith("version-"):
                continue
            meta = self._meta(item, f"model {folder.name}, {item.name}")
            number = _number(meta.get("version")) if meta else None
            if meta is None or not number or text_of(meta.get("current_stage")) == "Deleted_Internal":
                continue
            yield SourceVersion(
                number=number, source=text_of(meta.get("source")), place=text_of(meta.get("storage_location")), run=text_of(meta.get("run_id")),
                logged_model=text_of(meta.get("model_id")), run_link=text_of(meta.get("run_link")),
                stage=text_of(meta.get("current_stage")) or "None", status=text_of(meta.get("status")) or "READY",
                user=text_of(meta.get("user_id")), description=text_of(meta.get("description")),
                created_ms=_number(meta.get("creation_timestamp")), updated_ms=_number(meta.get("last_updated_timestamp")),
                tags=_values(item / "tags"),
            )  # fmt: skip


def _folders(parent: Path) -> list[Path]:
    """Folders below a folder that hold a meta.yaml, by name."""
    if not parent.is_dir():
        return []
    return sorted(item for item in parent.iterdir() if not item.is_symlink() and (item / _META).is_file())


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Keys, which may hold slashes, and their files."""
    for parent, names, files in os.walk(folder, followlinks=False):
        names.sort()
        for name in sorted(files):
            path = Path(parent, name)
            if not path.is_symlink():
                yield path.relative_to(folder).as_posix(), path


def _values(folder: Path) -> dict[str, str]:
    """Keys and the texts of their files."""
    found = {}
    for key, path in _files(folder):
        if path.stat().st_size > _LARGEST_VALUE:
            raise ValueError(f"{folder.name}/{key} has {path.stat().st_size} bytes")
        found[key] = path.read_text("utf-8")
    return found


def _number(value: Any) -> int | None:
    text = text_of(value)
    try:
        return int(text) if text else None
    except ValueError:
        return None
