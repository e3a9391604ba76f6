"""Attempts: which executor a step goes to, and the task it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from rung.core.digests import digest_of
from rung.core.settings import Settings
from rung.engine.driving.keys import Codes
from rung.engine.driving.sources import Source
from rung.engine.driving.states import Live, Work
from rung.engine.executors import EXECUTORS, Task
from rung.engine.host import ServiceTransport
from rung.engine.wiring import Outputs, step_seed, wired
from rung.pipelines.context import StepContext
from rung.pipelines.operations import log_path
from rung.pipelines.project import restore
from rung.pipelines.records import PipelineRun
from rung.pipelines.secrets import secret_values
from rung.storage.blobs import BlobStore

_DEATHS = 3  # so often in a row a step may have been running when its worker died; then it runs where it can take nobody along


class Tasks(msgspec.Struct):
    """Makes the tasks of one run."""

    run: PipelineRun
    source: Source
    settings: Settings
    transport: ServiceTransport
    blobs: BlobStore
    scratch: Path
    outputs: Outputs
    home: Path
    codes: Codes
    nested: bool = False
    _code: Path | None = None

    def executor_of(self, live: Live) -> str:
        """Where a step runs: where it or its run wishes to, and in a process of its own where it must be stoppable or apart."""
        options = live.node.step.options
        if self.source.executor:
            return self.source.executor
        wished = options.executor or self.run.executor
        apart = (
            options.isolated
            or options.timeout_s is not None
            or options.memory_bytes is not None
            or bool(options.gpus or options.environment)
        )
        # every other time only: it may not be the step that kills, and where workers are killed a new process comes up too slowly
        poison = live.deaths >= _DEATHS and live.deaths % 2 == _DEATHS % 2 and self.source.project is not None
        if (apart or poison) and wished in {"", "inline"}:
            return "pool" if "pool" in EXECUTORS.names() else "process"
        return wished or self.settings.engine.executor

    def draws(self, live: Live) -> bool:
        """Whether a step may draw from the random generators that the steps in one process share; such steps run one at a time there.

        Not where a step has asked for the run: it would wait for its own end.
        """
        return not self.nested and self.codes.draws(live.node.step)

    def task(self, work: Work) -> Task:
        """The task of an attempt at a step, or at a batch of a map."""
        live, home = work.live, self.home
        step, options = live.node.step, live.node.step.options
        seed = step_seed(self.run.seed, live.key)
        inline = work.executor == "inline"
        context = StepContext(
            pipeline=self.run.pipeline,
            project=self.transport.project,
            pipeline_run=self.run.id,
            step=live.key,
            attempt=work.number,
            seed=seed,
            run_id=self.run.run_id,
            transport=self.transport if inline else None,
            params_text=msgspec.json.encode(self.run.params).decode(),
            secrets=options.secrets,
            secret_values=secret_values(options.secrets, self.settings, step=live.key),
        )
        storage = self.settings.storage
        environ = {
            "RUNG_HOME": str(home), "RUNG_STORAGE_DATABASE": storage.database,
            "RUNG_STORAGE_BLOBS": storage.blobs or f"file://{home / 'blobs'}", "RUNG_CURRENT_RUN": self.run.run_id or "",
            "RUNG_PROJECT": self.transport.project,
            **self.source.environ,
        }  # fmt: skip
        if work.grant.gpus:
            environ["CUDA_VISIBLE_DEVICES"] = ",".join(work.grant.gpus)
        over = live.node.over if live.mapped is not None else ()
        environment = options.environment or self.source.environment
        return Task(
            id=work.id, step=step.name, target=step.target, outputs=step.outputs, function=step.function, context=context,
            arguments={name: wired(value, self.outputs) for name, value in live.node.arguments.items() if name not in over},
            log=log_path(home, self.run.id, live.key, work.number), scratch=self.scratch,
            timeout_s=options.timeout_s * max(1, len(work.positions)) if options.timeout_s else None,
            memory_bytes=options.memory_bytes, folder=self.source.folder, code=None if inline else self._changed_code(), snapshot=self.run.code, environ=environ,
            environment=self.source.folder / environment if environment else None, secrets=options.secrets, cpus=options.cpus,
            gpus=options.gpus, resources=options.resources, items=self._items(work), seeds=self._seeds(work, seed),
            draws=not inline or self.codes.draws(step), audit=self.run.audited,
        )  # fmt: skip

    def _items(self, work: Work) -> tuple[dict[str, Any], ...]:
        mapped = work.live.mapped
        if mapped is None:
            return ()
        return tuple({name: wired(value, self.outputs) for name, value in mapped.items[place].items()} for place in work.positions)

    def _seeds(self, work: Work, seed: int) -> tuple[int, ...]:
        """A seed for each item, from its content, so that it depends neither on its batch nor on its place."""
        mapped = work.live.mapped
        if mapped is None:
            return ()
        return tuple(int(digest_of(f"{seed} {mapped.keys[place]}".encode())[7:15], 16) for place in work.positions)

    def _changed_code(self) -> Path | None:
        """A folder with the code as it was when the run began, once the project is another; None while it is the same."""
        if self._code is None and self.run.code and self.source.has_changed():
            folder = self.scratch / "code"
            restore(self.run.code, self.blobs.get, folder)
            self._code = folder
        return self._code
