"""One step of a run, for another scheduler: asked for until it has ended."""

from __future__ import annotations

import time
from typing import Any

from rung.client.pipelines import Listener, PipelinesVerbs
from rung.client.transports import Transport
from rung.core.errors import Conflict, NotFound
from rung.pipelines.records import StepRun
from rung.pipelines.stepping import RunStep

_LOOK_S = 0.3


def run_step(
    transport: Transport,
    pipeline: str,
    step: str,
    key: str,
    params: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    scheduler: str = "",
    listener: Listener | None = None,
) -> tuple[str, StepRun]:
    """Execute one step of the run that ``key`` names; the run's id, and the step as it has ended.

    Steps of one run take turns. With the embedded platform the step runs in this process, else on the server's workers.

    Raises:
        NotFound: the pipeline, or the step in it, is not there. Conflict: what it needs has not ended, or the run's
            parameters are others.
    """
    verbs = PipelinesVerbs(transport)
    engine = verbs._local_engine()  # noqa: SLF001 - of this package
    if engine is not None:
        engine.register()
    attempts: int | None = None
    while True:
        wish = RunStep(
            pipeline=pipeline, step=step, key=key, params=params or {}, seed=seed, attempts=attempts, scheduler=scheduler,
            held=engine.owner if engine else None,
        )  # fmt: skip
        run = transport.call(wish)
        held = _step(verbs, run.id, step, engine)
        attempts = attempts if attempts is not None else held.attempts if held else 0
        if engine is not None and (held is None or held.status == "waiting"):
            try:
                engine.execute(run.id, listener=listener)
            except Conflict:
                time.sleep(_LOOK_S)  # another step of the run has its turn
                continue
            held = _step(verbs, run.id, step, None)
            if held is not None and held.status == "waiting":
                raise Conflict(
                    f"Step {step!r} waits for steps that have not ended.", code="pipelines.not_ready", hint="Ask for those first."
                )
        if held is not None and held.status not in {"waiting", "running"}:
            return run.id, held
        if engine is None and held is not None and run.status in {"running", "failed"} and verbs.get(run.id).run.status == run.status:
            time.sleep(_LOOK_S)
        time.sleep(_LOOK_S)


def _step(verbs: PipelinesVerbs, run: str, step: str, engine: Any) -> StepRun | None:
    detail = verbs.get(run)
    found = next((held for held in detail.steps if held.key == step), None)
    if found is None and detail.steps:
        known = ", ".join(held.key for held in detail.steps)
        raise NotFound(f"Pipeline {detail.run.pipeline!r} has no step {step!r}.", code="pipelines.no_step", hint=f"It has: {known}.")
    return found
