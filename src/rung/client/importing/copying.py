"""Copies a source into a platform: experiments, runs with all they have, logged models, registered models; then counts.

Runs go in batches, each all or nothing; a run is noted in the journal once its points and artifacts are in too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from rung.client.importing import translating as t
from rung.client.importing.journal import Journal
from rung.client.importing.models import ModelCopier
from rung.client.importing.source import Damaged, Source, SourceExperiment, SourceFile, SourceLogged, SourceRun
from rung.client.transports import Transport
from rung.core.digests import digest_of_file
from rung.core.errors import RungError, Unavailable
from rung.core.records import Count, Line, Record, replaced
from rung.tracking import imports as i
from rung.tracking.artifacts import ListArtifacts, media_type_of
from rung.tracking.logged import GetLoggedModel
from rung.tracking.records import MetricColumns

_RUNS, _POINTS, _TALLIED = 200, 20_000, 500
_FILES = 200
_UPLOADS = 8
KINDS = ("experiments", "runs", "params", "tags", "metrics", "points", "inputs", "models", "artifacts", "logged_models")
Progress = Callable[[str, int, int | None], None]  # an experiment, runs done, runs in all
_OF_RUN = ("params", "tags", "metrics", "points", "inputs", "models", "artifacts")


class ImportReport(Record):
    """What an import found and what is here now, by kind; ``differences`` is empty when all of it is here."""

    source: Line
    found: dict[str, Count]
    here: dict[str, Count]
    skipped: Count
    notes: tuple[str, ...]
    differences: tuple[str, ...]
    dry: bool = False


@dataclass
class _Pending:
    """A run on its way: its record without points, the pieces of points, and what the source has of it."""

    run: SourceRun
    record: i.ImportedRun
    counts: Counter[str] = field(default_factory=Counter)


class Copier:
    """One import. ``again`` sends what the journal says is whole once more."""

    def __init__(
        self, source: Source, transport: Transport, journal: Journal, progress: Progress | None = None, *, again: bool = False
    ) -> None:
        self._source, self._transport, self._journal = source, transport, journal
        self._progress = progress
        self._again = again
        self._found: Counter[str] = Counter()
        self._here: Counter[str] = Counter()
        self._skipped = 0
        self._notes: dict[str, None] = {}
        self._differences: list[str] = []
        source.damage = self._damaged

    def copy(
        self, experiments: Sequence[str] = (), since_ms: int | None = None, *, models: bool = True, artifacts: bool = True
    ) -> ImportReport:
        """Copy, then count. ``experiments`` are names or ids of those wanted, all when empty. Raises Unavailable, Denied."""
        wanted = self._wanted(experiments)
        self._found["experiments"] = len(wanted)
        for experiment in wanted:
            self._experiment(experiment, since_ms, artifacts=artifacts)
        self._compare()
        if models and not experiments:
            copier = ModelCopier(self._source, self._transport, self._note, self._differences.append)
            found, here = copier.copy()
            self._found.update(found)
            self._here.update(here)
        return self._report()

    def look(self, experiments: Sequence[str] = (), since_ms: int | None = None) -> ImportReport:
        """What there is to copy, and nothing else."""
        for experiment in self._wanted(experiments):
            self._found["experiments"] += 1
            count = self._source.count(experiment, since_ms)
            self._found["runs"] += sum(1 for _ in self._source.runs(experiment, since_ms)) if count is None else count
            self._found["logged_models"] += sum(1 for _ in self._source.logged_models(experiment))
        if not experiments:
            for model in self._source.models():
                self._found["registered_models"] += 1
                self._found["versions"] += len(model.versions)
                self._found["aliases"] += len(model.aliases)
        return replaced(self._report(), dry=True)

    def _wanted(self, names: Sequence[str]) -> list[SourceExperiment]:
        found = [item for item in self._source.experiments() if not names or item.name in names or item.id in names]
        known = {text for item in found for text in (item.name, item.id)}
        self._differences += [f"there is no experiment {name!r} at the source" for name in names if name not in known]
        return found

    def _experiment(self, experiment: SourceExperiment, since_ms: int | None, *, artifacts: bool) -> None:
        number = self._transport.call(t.experiment_of(experiment, self._note)).number
        self._here["experiments"] += 1
        total, done = self._source.count(experiment, since_ms), 0
        # Logged models come first: runs link to them, and artifacts of both may be shared.
        self._logged(experiment, number, artifacts=artifacts)
        for batch in self._batches(experiment, since_ms):
            self._send(number, batch)
            for pending in batch:
                if self._artifacts(pending, artifacts=artifacts):
                    self._journal.note("run", pending.run.id, _mark(pending.run), pending.counts)
            done += len(batch)
            if self._progress is not None:
                self._progress(experiment.name, done, total)

    def _batches(self, experiment: SourceExperiment, since_ms: int | None) -> Iterator[list[_Pending]]:
        batch: list[_Pending] = []
        for run in self._source.runs(experiment, since_ms):
            self._found["runs"] += 1
            record = t.run_of(run, self._note)
            if record is None:
                self._damaged(f"run {run.id!r} is left out")
                continue
            if not self._again and run.status != "RUNNING" and self._journal.mark("run", run.id) == _mark(run):
                self._skipped += 1
                continue
            counts = Counter(params=len(record.params), tags=len(record.tags), inputs=len(record.inputs), models=len(record.models))
            batch.append(_Pending(run, record, counts))
            if len(batch) == _RUNS:
                yield batch
                batch = []
        if batch:
            yield batch

    def _send(self, number: int, batch: list[_Pending]) -> None:
        """Send runs and their points, several runs a request, a long run in several requests."""
        ready: list[i.ImportedRun] = []
        held = 0
        for pending in batch:
            whose, keys, head = f"run {pending.run.id}", set[str](), pending.record
            for piece in pending.run.points():
                points = t.fitting(piece, self._note, whose)
                keys.update(point[0] for point in points)
                pending.counts["points"] += len(points)
                for start in range(0, len(points), t.PIECE):
                    some = points[start : start + t.PIECE]
                    if held + len(some) > _POINTS:
                        ready, held = self._flush(number, ready)
                    ready.append(replaced(head, points=t.columns_of(some)))
                    head = replaced(head, params={}, tags={}, inputs=(), models=())
                    held += len(some)
                    if len(points) > t.PIECE or held >= _POINTS:
                        ready, held = self._flush(number, ready)
            if head is pending.record:
                ready.append(replaced(head, points=MetricColumns()))
            pending.counts["metrics"] = len(keys)
        self._flush(number, ready)

    def _flush(self, number: int, ready: list[i.ImportedRun]) -> tuple[list[i.ImportedRun], int]:
        # A run in two pieces goes in two requests: one request looks once at what is there.
        while ready:
            first, later, seen = list[i.ImportedRun](), list[i.ImportedRun](), set[str]()
            for item in ready:
                (later if item.id in seen else first).append(item)
                seen.add(item.id)
            self._enter(number, first)
            ready = later
        return [], 0

    def _enter(self, number: int, runs: list[i.ImportedRun]) -> None:
        try:
            self._transport.call(i.ImportRuns(experiment_number=number, runs=tuple(runs)))
        except RungError as error:
            if isinstance(error, Unavailable):
                raise
            if len(runs) == 1:
                self._damaged(f"run {runs[0].id}: {error.message}")
                return
            for run in runs:  # all or nothing: find the one that is refused
                self._enter(number, [run])

    def _artifacts(self, pending: _Pending, *, artifacts: bool) -> bool:
        if not artifacts:
            return True
        count = self._copied_files(pending.run.id, pending.run.artifact_uri)
        pending.counts["artifacts"] = count or 0
        return count is not None

    def _copied_files(self, owner: str, artifact_uri: str) -> int | None:
        """How many artifacts were copied; None when not all could be read."""
        held = {item.path: item.size_bytes for item in self._transport.call(ListArtifacts(owner=owner))} if not self._again else {}
        total, ready, whole = 0, list[i.ImportedArtifact](), True
        try:
            with ThreadPoolExecutor(_UPLOADS) as pool:
                files = [item for item in self._source.files(owner, artifact_uri) if item.path not in held or not item.temporary]
                for start in range(0, len(files), _FILES):
                    ready = [found for found in pool.map(self._uploaded, files[start : start + _FILES]) if found is not None]
                    whole = whole and len(ready) == len(files[start : start + _FILES])
                    total += self._transport.call(i.ImportArtifacts(owner=owner, artifacts=tuple(ready)))
                total += sum(1 for path in held if path not in {file.path for file in files})
        except (Damaged, OSError) as error:
            self._damaged(str(error))
            return None
        except RungError as error:
            if isinstance(error, Unavailable):
                raise
            self._damaged(f"artifacts of {owner}: {error.message}")
            return None
        return total if whole else None

    def _uploaded(self, file: SourceFile) -> i.ImportedArtifact | None:
        try:
            path = file.fetch()
        except (Damaged, OSError) as error:
            self._damaged(f"artifact {file.path}: {error}")
            return None
        try:
            digest = self._transport.put_blob(path)
            media_type = media_type_of(file.path)
            return i.ImportedArtifact(path=file.path, digest=digest, size_bytes=digest_of_file(path)[1], media_type=media_type)
        finally:
            if file.temporary:
                path.unlink(missing_ok=True)

    def _logged(self, experiment: SourceExperiment, number: int, *, artifacts: bool) -> None:
        batch: list[tuple[SourceLogged, str]] = []
        for model in self._source.logged_models(experiment):
            self._found["logged_models"] += 1
            mark = f"{model.status} {model.updated_ms} {model.deleted}"
            if not self._again and self._journal.mark("logged_model", model.id) == mark:
                self._skipped += 1
                continue
            record = t.logged_of(model, number, self._note)
            if record is None:
                self._damaged(f"logged model {model.id!r} is left out")
                continue
            self._transport.call(i.ImportLoggedModels(models=(record,)))
            batch.append((model, mark))
        for model, mark in batch:
            count = self._copied_files(model.id, model.artifact_uri) if artifacts and not model.deleted else 0
            if count is not None:
                self._journal.note("logged_model", model.id, mark, {"artifacts": count, "deleted": int(model.deleted)})

    def _compare(self) -> None:
        """Count what is here of everything the journal holds, this time's and earlier ones', and name what is missing."""
        expected = list(self._journal.whole("run"))
        for start in range(0, len(expected), _TALLIED):
            some = expected[start : start + _TALLIED]
            here = {item.run: item for item in self._transport.call(i.TallyRuns(runs=tuple(run for run, _ in some)))}
            for run, counts in some:
                tally = here.get(run)
                if tally is None:
                    self._differences.append(f"run {run} is not here")
                    continue
                self._here["runs"] += 1
                for kind in _OF_RUN:
                    have, had = getattr(tally, kind), counts.get(kind, 0)
                    self._found[kind] += had
                    self._here[kind] += have
                    if have < had:
                        self._differences.append(f"run {run}: {had} {kind} there, {have} here")
        for model, counts in self._journal.whole("logged_model"):
            if counts.get("deleted"):
                self._here["logged_models"] += 1
                continue
            try:
                self._transport.call(GetLoggedModel(model=model[2:]))
            except RungError:
                self._differences.append(f"logged model {model} is not here")
                continue
            self._here["logged_models"] += 1
            have, had = len(self._transport.call(ListArtifacts(owner=model))), counts.get("artifacts", 0)
            self._found["artifacts"] += had
            self._here["artifacts"] += have
            if have < had:
                self._differences.append(f"logged model {model}: {had} artifacts there, {have} here")

    def _report(self) -> ImportReport:
        kinds = [*KINDS, *(kind for kind in self._found if kind not in KINDS)]
        return ImportReport(
            source=self._source.name, found={kind: self._found[kind] for kind in kinds}, here={kind: self._here[kind] for kind in kinds},
            skipped=self._skipped, notes=tuple(self._notes), differences=tuple(dict.fromkeys(self._differences)),
        )  # fmt: skip

    def _note(self, text: str) -> None:
        self._notes[text] = None

    def _damaged(self, text: str) -> None:
        self._differences.append(text)


def _mark(run: SourceRun) -> str:
    """What tells whether an ended run has changed since it was copied."""
    return f"{run.status} {run.ended_ms} {run.deleted} {len(run.params)} {len(run.tags)}"
