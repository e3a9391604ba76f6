"""``rung.log_model``: a fitted estimator written down as a logged model of the current run.

Its files lie under the owner ``m-<id>`` as a model format of the registry writes them, beside ``rung.json``, which says
how to read them. Registering it makes a version of a model from the same files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rung.client.active import ActiveRun
from rung.client.current import current_pipeline_run_id, current_run
from rung.client.tracking import TrackingVerbs
from rung.core.clock import SystemClock
from rung.core.errors import Invalid
from rung.core.ids import new_id
from rung.core.references import Task
from rung.registry.manifest import EXAMPLE, MANIFEST, Manifest
from rung.registry.packing import Packed, as_polars, pack
from rung.registry.records import ModelFile, RegisterVersion
from rung.tracking.logged import CreateLoggedModel, LoggedModel, UpdateLoggedModel
from rung.tracking.records import LogBatch, ModelLink

LOGGED_AS, VERSION = "rung.logged_model", "rung.version"


def log_model(
    estimator: Any,
    name: str = "model",
    *,
    example: Any = None,
    label: str = "",
    register_as: str | None = None,
    task: Task | None = None,
    tags: Mapping[str, str] | None = None,
    run: ActiveRun | None = None,
    keep_example: bool = True,
) -> LoggedModel:
    """Write a fitted estimator down as a model of the current run.

    Args:
        estimator: fitted, and of a kind that a model format can write; or the path of a model's file.
        name: what it is called in the run.
        example: rows of its inputs (Polars, pandas, Arrow, NumPy, or a Parquet or CSV file); the label is left out.
        label: name of the column that holds the truth; needed to register.
        register_as: also make it the next version of this model.
        task: default from the estimator.
        run: default the current run.
        keep_example: store the example's first rows beside the model; without, they only give its signature.

    Raises:
        Invalid: no format writes it safely, it cannot score the example, or it answers otherwise once loaded.
    """
    if example is None:
        raise Invalid(
            f"Model {name!r} has no example.", code="tracking.no_example", hint="Give some rows of its inputs: example=X.head(100)."
        )
    if register_as and not label:
        raise Invalid(
            f"Model {register_as!r} cannot be registered without the name of its label.", code="tracking.no_label",
            hint="Say which column holds the truth: label='late'.",
        )  # fmt: skip
    run = run or current_run()
    packed = pack(estimator, as_polars(example).drop(label, strict=False), task=task)
    model = _create(run, name, packed, tags)
    owner = f"m-{model.id}"
    files = []
    for path, data in packed.files.items():
        kept = run.keep(owner, data, path)
        files.append(ModelFile(path=path, digest=kept.digest, size_bytes=kept.size_bytes))
    manifest = Manifest(
        format=packed.format, files=tuple(files), task=packed.task, signature=packed.signature, classes=packed.classes, label=label,
        libraries=packed.libraries,
    )  # fmt: skip
    run.keep(owner, msgspec.json.format(msgspec.json.encode(manifest), indent=2), MANIFEST)
    if keep_example and packed.example is not None:
        run.keep(owner, packed.example, EXAMPLE)
    run.ask(LogBatch(run=run.id, batch=new_id(), models=(ModelLink(model=model.id),)))
    version = _registered(run, register_as, manifest, model.id) if register_as else ""
    ready = UpdateLoggedModel(model=model.id, status="ready", tags={VERSION: version} if version else {})
    return run.ask(ready) or msgspec.structs.replace(model, status="ready")  # type: ignore[type-var]  # a Struct, see core.records


def _create(run: ActiveRun, name: str, packed: Packed, tags: Mapping[str, str] | None) -> LoggedModel:
    known = run.known or (None if run.offline else run.client.tracking.get(run.id))
    request = CreateLoggedModel(
        experiment_number=known.experiment_number if known else 0, name=name, id=new_id(), type=packed.format, run=run.id,
        tags={"rung.task": packed.task, **{key: str(value) for key, value in (tags or {}).items()}},
    )  # fmt: skip
    now = SystemClock().now()
    return run.ask(request) or LoggedModel(
        id=str(request.id), experiment_number=request.experiment_number, name=name, status="pending", created_at=now, updated_at=now,
        created_by="", type=request.type, run=run.id, tags=dict(request.tags),
    )  # fmt: skip


def _registered(run: ActiveRun, model: str, manifest: Manifest, logged: str) -> str:
    context = TrackingVerbs(run.client.transport).context() if not run.offline else None
    version = run.ask(
        RegisterVersion(
            model=model, format=manifest.format, files=manifest.files, signature=manifest.signature, task=manifest.task,
            label=manifest.label, classes=manifest.classes, libraries=manifest.libraries, run_id=run.id, logged_model=logged,
            pipeline_run_id=current_pipeline_run_id(), lock=context.lock if context else "",
            git_commit=context.git_commit if context else "", git_dirty=context.git_dirty if context else False,
            tags={LOGGED_AS: logged},
        )
    )  # fmt: skip
    return f"{version.model}:{version.number}" if version is not None else ""
