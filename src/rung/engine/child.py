"""The child process of one attempt: ``python -m rung.engine.child ERRAND``. It sees blobs, never rows."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import msgspec

from rung.core.errors import RungError
from rung.engine.executors.family import Outcome, Task, carried_out, seed_everything
from rung.engine.wire import Answer, Errand, untold
from rung.pipelines.authoring import Step
from rung.pipelines.context import StepContext, current_step
from rung.pipelines.project import find_target
from rung.storage.blobs import open_blobs


def main(path: str) -> None:
    """Run the errand and leave its answer beside it, renamed into place so that a half one is never read."""
    errand = msgspec.msgpack.decode(Path(path).read_bytes(), type=Errand)
    if errand.memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (errand.memory_bytes, errand.memory_bytes))
    sys.path.insert(0, errand.folder)
    context = StepContext(
        pipeline=errand.pipeline,
        pipeline_run=errand.pipeline_run,
        step=errand.step,
        attempt=errand.attempt,
        seed=errand.seed,
        run_id=errand.run_id,
    )
    task = Task(
        id=errand.id, step=errand.step, target=errand.target, outputs=errand.outputs,
        arguments={name: untold(node) for name, node in errand.arguments[1]} if errand.arguments[0] == "dict" else {},
        context=context, log=Path("/dev/null"), scratch=Path(errand.scratch),
    )  # fmt: skip
    current_step.set(context)
    outcome = _outcome(task, errand)
    usage, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = usage.ru_utime + usage.ru_stime + children.ru_utime + children.ru_stime
    status = "succeeded" if outcome.status == "succeeded" else "failed"
    part = Path(errand.answer + ".part")
    part.write_bytes(msgspec.msgpack.encode(Answer(status=status, outputs=outcome.outputs, error=outcome.error, cpu_s=cpu_s)))  # type: ignore[arg-type]
    part.rename(errand.answer)


def _outcome(task: Task, errand: Errand) -> Outcome:
    try:
        found = find_target(errand.target)
    except RungError as error:
        return Outcome("failed", error=f"Step {task.step!r} failed: {error}")
    seed_everything(task.context.seed)
    function = found.function if isinstance(found, Step) else found
    return carried_out(task, function, open_blobs(errand.blobs), lambda: 0.0)


if __name__ == "__main__":
    main(sys.argv[1])
