"""Models, versions, gates and aliases from Python."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rung.client.tracking import TrackingVerbs
from rung.client.transports import Transport
from rung.core.digests import digest_of
from rung.core.errors import AlreadyExists, Conflict, Invalid, NotFound
from rung.core.records import Page
from rung.core.references import DatasetUse, Task
from rung.evaluation.records import Evaluation, GetEvaluation
from rung.registry import approvals as a
from rung.registry import engine_records as e
from rung.registry import logged as lg
from rung.registry import records as r
from rung.tracking.artifacts import ListArtifacts

if TYPE_CHECKING:
    import polars as pl

Datasets = Sequence[DatasetUse | tuple[str, str, int]]
Slices = Sequence[str | r.SliceRule]
_ID = re.compile(r"^[0-9a-f]{32}$")


class RegistryVerbs:
    """Verbs of the registry."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._tracking = TrackingVerbs(transport)

    def register(
        self,
        model: str,
        estimator: Any,
        *,
        example: Any,
        label: str,
        task: Task | None = None,
        threshold: float | None = None,
        datasets: Datasets = (),
        description: str = "",
        tags: Mapping[str, str] | None = None,
        run_id: str | None = None,
        pipeline_run_id: str | None = None,
        format: str | None = None,
    ) -> r.ModelVersion:
        """Register a fitted estimator as the next version of a model.

        Args:
            model: name; a new one makes the model.
            estimator: fitted, and of a kind that a model format can write; or the path of a model's file (skops, txt, ubj, json, onnx).
            example: rows of its inputs (Polars, pandas, Arrow, or the path of a Parquet or CSV file); the label is left out.
            label: name of the column that holds the truth in datasets.
            task: default from the estimator's classes.
            threshold: score from which a binary model says yes; default 0.5.
            datasets: what it was made from, as ``DatasetUse`` or ``("train", "flights", 3)``.
            run_id: default the current run; pipeline_run_id: default the running step's.
            format: default the first that accepts the estimator.

        Raises:
            Invalid: it cannot be written safely, cannot score the example, or answers otherwise once loaded.
        """
        from rung.client.current import current_pipeline_run_id, current_run_id  # noqa: PLC0415 - it imports the client, which imports this
        from rung.registry.packing import as_polars, pack  # noqa: PLC0415 - loads Polars and the model's library

        frame = as_polars(example)
        packed = pack(estimator, frame.drop(label, strict=False), task=task, format=format)
        context = self._tracking.context()
        uses = tuple(use if isinstance(use, DatasetUse) else DatasetUse(role=use[0], dataset=use[1], number=use[2]) for use in datasets)  # type: ignore[arg-type]  # the request's check refuses other roles
        files = tuple(
            r.ModelFile(path=path, digest=self._transport.put_blob(data), size_bytes=len(data)) for path, data in packed.files.items()
        )
        return self._transport.call(
            r.RegisterVersion(
                model=model, format=packed.format, files=files, signature=packed.signature, task=packed.task, label=label,
                classes=packed.classes, threshold=threshold, datasets=uses, libraries=packed.libraries,
                input_example=self._transport.put_blob(packed.example) if packed.example else "",
                run_id=run_id or current_run_id(), pipeline_run_id=pipeline_run_id or current_pipeline_run_id(),
                lock=context.lock, git_commit=context.git_commit, git_dirty=context.git_dirty,
                tags=dict(tags or {}), description=description,
            )
        )  # fmt: skip

    def register_files(self, request: r.RegisterVersion, folder: Path) -> r.ModelVersion:
        """Register files that another tool wrote: the request names them, ``folder`` holds them."""
        for file in request.files:
            data = (folder / file.path).read_bytes()
            if digest_of(data) == file.digest:
                self._transport.put_blob(data)
        return self._transport.call(request)

    def register_logged(
        self, model: str, source: str, *, run_id: str | None = None, logged_model: str | None = None, label: str | None = None,
        description: str = "", tags: Mapping[str, str] | None = None,
    ) -> r.ModelVersion:  # fmt: skip
        """Register what another tool logged here: ``runs:/<run>/model`` or ``models:/m-<id>``; the model is made if there is none.

        Args:
            model: name.
            source: where it was logged; an address elsewhere makes a version that says why it answers nobody.
            run_id: default the run, and ``logged_model`` the logged model, that the source names.
            label: column that holds the truth, which MLflow does not know; it can be said later with ``describe``.
        """
        kind, _, rest = source.partition(":/")
        owner = rest.split("/")[0]
        run_id = run_id or (owner if kind == "runs" and _ID.match(owner) else None)
        logged_model = logged_model or (owner[2:] if kind == "models" and owner.startswith("m-") and _ID.match(owner[2:]) else None)
        try:
            self.model(model)
        except NotFound:
            self._transport.call(r.CreateModel(name=model))
        version = self._transport.call(
            lg.RegisterLogged(
                model=model, source=source, run_id=run_id, logged_model=logged_model, description=description, tags=dict(tags or {})
            )
        )  # fmt: skip
        return version if label is None else self.describe(model, version.number, label=label)

    def create_model(self, name: str, task: Task | None = None, *, description: str = "", tags: Mapping[str, str] | None = None) -> r.Model:
        """A new model without versions."""
        return self._transport.call(r.CreateModel(name=name, task=task, description=description, tags=dict(tags or {})))

    def update_model(self, model: str, *, description: str | None = None, tags: Mapping[str, str | None] | None = None) -> r.Model:
        """Change a model's description or tags; None removes a tag."""
        return self._transport.call(r.UpdateModel(model=model, description=description, tags=dict(tags or {})))

    def models(self, *, deleted: bool = False) -> tuple[r.Model, ...]:
        """Models by name; with ``deleted`` those that can be restored instead."""
        return self._transport.call(r.ListModels(deleted=deleted))

    def model(self, name: str) -> r.Model:
        """One model with its aliases."""
        return self._transport.call(r.GetModel(model=name))

    def version(self, model: str, number: int | None = None, *, alias: str | None = None) -> r.ModelVersion:
        """A version by number or alias, else the newest."""
        return self._transport.call(r.GetVersion(model=model, number=number, alias=alias))

    def versions(
        self, model: str, *, before: int | None = None, limit: int = 100, deleted: bool = False
    ) -> Page[r.ModelVersion]:  # fmt: skip
        """Versions, newest first; with ``deleted`` those that were retired instead."""
        return self._transport.call(r.ListVersions(model=model, before=before, limit=limit, deleted=deleted))

    def search_models(self, filter: str = "", *, order_by: Sequence[str] = (), after: str | None = None, limit: int = 100) -> Page[r.Model]:
        """Models a filter finds, such as ``name LIKE 'late%' AND tags.team = 'blue'``."""
        return self._transport.call(lg.SearchModels(filter=filter, order_by=tuple(order_by), after=after, limit=limit))

    def search_versions(
        self, filter: str = "", *, order_by: Sequence[str] = (), after: str | None = None, limit: int = 100
    ) -> Page[r.ModelVersion]:
        """Versions of any model that a filter finds, such as ``stage = 'production' OR tags.kind = 'candidate'``."""
        return self._transport.call(lg.SearchVersions(filter=filter, order_by=tuple(order_by), after=after, limit=limit))

    def update_version(
        self, model: str, number: int, *, description: str | None = None, tags: Mapping[str, str | None] | None = None
    ) -> r.ModelVersion:
        """Change a version's description or tags; None removes a tag."""
        return self._transport.call(lg.UpdateVersion(model=model, number=number, description=description, tags=dict(tags or {})))

    def describe(
        self, model: str, number: int, *, label: str | None = None, task: Task | None = None, classes: Sequence[r.Class] = (),
        threshold: float | None = None,
    ) -> r.ModelVersion:  # fmt: skip
        """Say once what nobody knew of a version, such as one logged with MLflow's client: then it can be gated and monitored."""
        return self._transport.call(
            lg.UpdateVersion(model=model, number=number, label=label, task=task, classes=tuple(classes), threshold=threshold)
        )

    def rename_model(self, model: str, name: str) -> r.Model:
        """Give a model another name; everything of it follows. Refused while it is deployed."""
        return self._transport.call(lg.RenameModel(model=model, name=name))

    def delete_model(self, model: str) -> r.Model:
        """Retire a model with its versions and aliases, unless one is deployed."""
        return self._transport.call(lg.DeleteModel(model=model))

    def restore_model(self, model: str) -> r.Model:
        """Bring a retired model back with the versions that went with it."""
        return self._transport.call(lg.RestoreModel(model=model))

    def delete_version(self, model: str, number: int, *, remove_aliases: bool = False) -> r.ModelVersion:
        """Retire a version that is not deployed, and that no alias points at unless they shall go too."""
        return self._transport.call(lg.DeleteVersion(model=model, number=number, remove_aliases=remove_aliases))

    def restore_version(self, model: str, number: int) -> r.ModelVersion:
        """Bring a retired version back."""
        return self._transport.call(lg.RestoreVersion(model=model, number=number))

    def set_stage(self, model: str, number: int, stage: r.Stage, *, archive_others: bool = False) -> r.ModelVersion:
        """Move a version to a stage; the alias of the same name follows."""
        return self._transport.call(lg.SetStage(model=model, number=number, stage=stage, archive_others=archive_others))

    def download(self, model: str, number: int) -> lg.Download:
        """Where a version's files are."""
        return self._transport.call(lg.GetDownload(model=model, number=number))

    def save_files(self, model: str, number: int, folder: str | Path) -> tuple[Path, ...]:
        """Write a version's files into a folder, which is made; their paths.

        The files are those that were logged, with all that lay beside the model, else those that Rung wrote.

        Raises:
            Conflict: it has no files here.
            AlreadyExists: the folder holds something; nothing is overwritten.
        """
        version, folder = self.version(model, number), Path(folder)
        held = self._logged_files(version) or {file.path: file.digest for file in version.files}
        if not held:
            why = version.unservable or "Its files are elsewhere."
            raise Conflict(f"{model}:{number} has no files here. {why}", code="registry.no_files", hint="Fetch them from its source.")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise AlreadyExists(f"{folder} holds something.", code="registry.folder_exists", hint="Name a new folder.")
        for path, digest in held.items():
            target = folder.joinpath(*PurePosixPath(path).parts)
            if not target.resolve().is_relative_to(folder.resolve()):
                raise Invalid(f"The file {path!r} would leave the folder.", code="registry.bad_path", hint="Do not trust this version.")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._transport.get_blob(digest))
        return tuple(folder / path for path in held)

    def _logged_files(self, version: r.ModelVersion) -> dict[str, str]:
        """Digests of the files of a version's logged folder, by path in it; none where nothing was logged, or it is gone."""
        if not version.source:
            return {}
        place = self.download(version.model, version.number)
        places = [(place.owner, place.prefix), (f"m-{version.logged_model}" if version.logged_model else "", "")]
        for owner, prefix in [place for place in places if place[0]]:
            try:
                listed = self._transport.call(ListArtifacts(owner=owner, under=prefix))
            except NotFound:
                continue
            if listed:
                skipped = len(prefix) + 1 if prefix else 0
                return {item.path[skipped:] or item.path.rpartition("/")[2]: item.digest for item in listed}
        return {}

    def engine(self, model: str, number: int) -> r.ServingEngine:
        """What serves a version, how far it agrees with the model's own library, and how much faster it is."""
        return self._transport.call(e.GetEngine(model=model, number=number))

    def compile(self, model: str, number: int, *, engine: str = "") -> r.ServingEngine:
        """Compile a version for serving anew, by the fastest engine that agrees with it, or by the one named; "native" undoes it."""
        return self._transport.call(e.CompileVersion(model=model, number=number, engine=engine))

    def input_example(self, model: str, number: int | None = None, *, alias: str | None = None) -> pl.DataFrame:
        """Some rows that a version was shown when it was made. Raises NotFound for one without."""
        import polars as pl  # noqa: PLC0415 - loads nothing heavy until asked

        version = self.version(model, number, alias=alias)
        if not version.input_example:
            raise NotFound(
                f"{version.model}:{version.number} has no input example.", code="registry.no_example", hint="Register it with `example=`."
            )
        return pl.read_parquet(io.BytesIO(self._transport.get_blob(version.input_example)))

    def set_approval_rule(self, model: str, needed: int, *, roles: Sequence[str] = ()) -> a.ApprovalRule:
        """Ask for approvals by others than the maker before promotion and production; 0 asks for none."""
        return self._transport.call(a.SetApprovalRule(model=model, needed=needed, roles=tuple(roles)))

    def approve(
        self, model: str, number: int, *, digest: str | None = None, comment: str = "", until: datetime | None = None
    ) -> a.Approval:
        """Approve a version; ``digest`` is what was looked at, default what it is now."""
        looked_at = digest or self.version(model, number).digest
        return self._transport.call(a.Approve(model=model, number=number, digest=looked_at, comment=comment, until=until))

    def reject(self, model: str, number: int, comment: str, *, digest: str | None = None) -> a.Approval:
        """Say no to a version, and why; ``digest`` is what was looked at, default what it is now."""
        looked_at = digest or self.version(model, number).digest
        return self._transport.call(a.Reject(model=model, number=number, digest=looked_at, comment=comment))

    def revoke_approval(self, approval: str, *, reason: str = "") -> a.Approval:
        """Take an approval or a rejection back."""
        return self._transport.call(a.RevokeApproval(id=approval, reason=reason))

    def approval_rule(self, model: str) -> a.ApprovalRule:
        """How many approvals versions of a model need."""
        return self._transport.call(a.GetApprovalRule(model=model))

    def approvals(self, model: str, number: int) -> a.ApprovalState:
        """Approvals of a version, who said no, and what is missing."""
        return self._transport.call(a.ListApprovals(model=model, number=number))

    def predictor(self, model: str, number: int | None = None, *, alias: str | None = None) -> Any:
        """A version loaded here: ``predict_scores(frame)`` answers its scores."""
        from rung.registry.loading import load  # noqa: PLC0415 - loads nothing heavy until asked

        return load(_Blobs(self._transport), self.version(model, number, alias=alias))

    def evaluate(
        self, model: str, number: int, dataset: str, dataset_number: int | None = None, *, slices: Slices | None = None
    ) -> Evaluation:
        """Score a version on a dataset version, whole and by slice; without slices, by those of its gate rules."""
        rules = None if slices is None else _slices(slices)
        made = self._transport.call(
            r.EvaluateVersion(model=model, number=number, dataset=dataset, dataset_number=dataset_number, slices=rules)
        )
        return self._transport.call(GetEvaluation(id=made))

    def set_gate_rules(
        self, model: str, rules: Sequence[r.GateRule | dict[str, Any]], *, slices: Slices = (), dataset: str | None = None
    ) -> r.GateRules:
        """Say what versions must pass: ``{"gate": "threshold", "metric": "roc_auc", "at_least": 0.7}`` …"""
        return self._transport.call(
            r.SetGateRules(model=model, rules=tuple(_rule(rule) for rule in rules), slices=_slices(slices), dataset=dataset)
        )

    def gate_rules(self, model: str) -> r.GateRules:
        """The rules in force."""
        return self._transport.call(r.GetGateRules(model=model))

    def check_gate(self, model: str, number: int, *, dataset: str | None = None, dataset_number: int | None = None) -> r.Verdict:
        """Put a version before its gates."""
        return self._transport.call(r.CheckGate(model=model, number=number, dataset=dataset, dataset_number=dataset_number))

    def verdict(self, verdict: str) -> r.Verdict:
        """One verdict."""
        return self._transport.call(r.GetVerdict(id=verdict))

    def verdicts(self, model: str, number: int | None = None, *, limit: int = 100) -> tuple[r.Verdict, ...]:
        """Verdicts, newest first."""
        return self._transport.call(r.ListVerdicts(model=model, number=number, limit=limit))

    def promote(
        self, model: str, number: int, *, alias: str = r.CHAMPION, reason: str = "", override_reason: str | None = None
    ) -> r.AliasMove:
        """Move an alias to a version that passed its gates, or with ``override_reason`` past them."""
        return self._transport.call(r.Promote(model=model, number=number, alias=alias, reason=reason, override_reason=override_reason))

    def set_alias(self, model: str, alias: str, number: int, *, expected: int | None = None, reason: str = "") -> r.AliasMove:
        """Point a free alias at a version; ``expected`` is where it must point now, 0 for nowhere."""
        return self._transport.call(r.SetAlias(model=model, alias=alias, number=number, expected=expected, reason=reason))

    def remove_alias(self, model: str, alias: str, *, reason: str = "") -> None:
        """Take a free alias away."""
        self._transport.call(r.RemoveAlias(model=model, alias=alias, reason=reason))

    def alias_moves(self, model: str, alias: str | None = None, *, limit: int = 100) -> tuple[r.AliasMove, ...]:
        """Which version held which alias when, newest first."""
        return self._transport.call(r.ListAliasMoves(model=model, alias=alias, limit=limit))

    def card(self, model: str, number: int | None = None) -> r.ModelCard:
        """A version's card in Markdown, with what is missing."""
        return self._transport.call(r.GetCard(model=model, number=number))


def register_model(model: str, estimator: Any, *, example: Any, label: str, **options: Any) -> r.ModelVersion:
    """Register a fitted estimator from the current run; see ``RegistryVerbs.register`` for the options."""
    from rung.client.current import current_client  # noqa: PLC0415 - see RegistryVerbs.register

    version: r.ModelVersion = current_client().registry.register(model, estimator, example=example, label=label, **options)
    return version


class _Blobs:
    """What loading needs of a blob store, over a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, digest: str) -> bytes:
        return self._transport.get_blob(digest)


def _rule(rule: r.GateRule | dict[str, Any]) -> r.GateRule:
    if isinstance(rule, r.GateRule):
        return rule
    params = {name: value for name, value in rule.items() if name not in {"gate", "blocking"}}
    return r.GateRule(gate=rule.get("gate", ""), params=params, blocking=rule.get("blocking", True))


def _slices(slices: Slices) -> tuple[r.SliceRule, ...]:
    return tuple(_slice(item) if isinstance(item, str) else item for item in slices)


def _slice(text: str) -> r.SliceRule:
    """``origin`` for its values, ``distance/4`` for four quantile bands."""
    column, slash, bands = text.rpartition("/")
    return r.SliceRule(column=column, bands=int(bands)) if slash and bands.isdecimal() else r.SliceRule(column=text)
