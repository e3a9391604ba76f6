"""Pipeline runs of every look, written as rows: a failed one with tries, a map, branches, sub-pipelines, large plans, hostile words."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from rung.app.local import LocalTransport
from rung.core.ids import new_id
from rung.pipelines.items import manifest
from rung.pipelines.project import CodeTree
from rung.pipelines.records import (
    Artifact,
    AttemptStatus,
    Cause,
    Change,
    Condition,
    ParamSpec,
    PipelineInfo,
    PipelineRun,
    PipelineRunStatus,
    StepAttempt,
    StepItem,
    StepOptions,
    StepRun,
    StepSpec,
    StepStatus,
)
from rung.pipelines.store import PipelineStore

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOG = (
    "\x1b[32mreading\x1b[0m flights\n" + "10%\r50%\r100%\n" + MARKUP + "\nbytes \x00\x07 here\n" + "ünïcode ✓\n"
    + "".join(f"epoch {n} loss {1 / (n + 1):.4f}\n" for n in range(400))
)  # fmt: skip


class Seeder:
    """Writes rows of pipelines of one project."""

    def __init__(self, transport: LocalTransport) -> None:
        self.transport = transport
        self.project = transport.caller().project
        self.rng = random.Random(7)

    def write(self, work: Any) -> None:
        """Do some work on a store in one transaction."""
        self.transport.platform.database.write(lambda c: work(PipelineStore(c, self.project)))

    def blob(self, data: bytes) -> str:
        """Keep bytes."""
        return self.transport.put_blob(data)

    def artifact(self, label: str, form: str, data: bytes, **meta: Any) -> Artifact:
        """An output, inline where it is small."""
        inline = data if len(data) < 4096 else None
        return Artifact(name=label, kind=form, digest=self.blob(data), size_bytes=len(data), meta=meta, inline=inline)

    def declare(self, name: str, specs: tuple[StepSpec, ...], doc: str = "") -> None:
        """Make a pipeline known."""
        params = (
            ParamSpec(name="rows", type="int", required=False, default=20, unit="rows", doc=f"how many {MARKUP}", minimum=1, maximum=1000),
            ParamSpec(name="rate", type="float", required=False, default=0.1, doc="learning rate"),
            ParamSpec(name="model", type="str", required=True, choices=("tree", "linear"), doc="what is fitted"),
            ParamSpec(name="note", type="str", required=False, default=""),
        )
        info = PipelineInfo(name=name, target=f"pipelines:{name}", doc=doc, params=params, steps=specs, code="", seen_at=NOW)
        self.write(lambda store: store.define(info))

    def run(self, name: str, number: int, status: PipelineRunStatus, specs: tuple[StepSpec, ...] = (), **more: Any) -> PipelineRun:
        """Enter a run without steps; answers it."""
        created = more.pop("at", NOW + timedelta(minutes=number))
        took = more.pop("took", 60.0)
        ended = created + timedelta(seconds=2 + took) if status not in {"running", "queued"} else None
        fields: dict[str, Any] = {
            "cause": Cause(kind="schedule", subject="0 3 * * *", reason="a time has come"), "seed": 0, "use_cache": True, "created_by": "ana",
            "params": {"rows": number, "model": "tree", "note": MARKUP}, "python": "3.13.5", "hardware": {"cpus": 2, "machine": "x86_64"},
        }  # fmt: skip
        run = PipelineRun(
            id=new_id(), number=number, pipeline=name, status=status, created_at=created, started_at=created + timedelta(seconds=2) if status != "queued" else None,
            ended_at=ended, steps=specs, wall_s=took, cpu_s=took * 0.8, **{**fields, **more},
        )  # fmt: skip
        self.write(lambda store: store.add_run(run))
        return run

    def steps(
        self, run: PipelineRun, held: list[StepRun], attempts: list[StepAttempt] | None = None, items: list[StepItem] | None = None
    ) -> None:
        """Enter its steps, tries and items."""

        def work(store: PipelineStore) -> None:
            store.add_steps(held)
            for attempt in attempts or []:
                store.add_attempt(attempt)
            store.add_items(items or [])

        self.write(work)


def step_of(
    run: PipelineRun, spec: StepSpec, position: int, status: StepStatus, start: float = 0.0, took: float = 1.0, **more: Any
) -> StepRun:
    """The state of a step, begun ``start`` seconds after its run."""
    began = run.started_at if run.started_at and status not in {"waiting", "skipped"} else None
    begun = began + timedelta(seconds=start) if began else None
    ended = begun + timedelta(seconds=took) if begun and status != "running" else None
    tried = 1 if status in {"succeeded", "failed", "running"} else 0
    fields: dict[str, Any] = {
        "attempts": tried,
        "reason": "Ran: it has no earlier result" if tried else "",
        "peak_bytes": 120 << 20 if tried else 0,
    }
    return StepRun(
        id=new_id(), pipeline_run=run.id, key=spec.key, step=spec.step, position=position, status=status, started_at=begun, ended_at=ended,
        wall_s=took if ended else 0.0, cpu_s=took * 0.9 if ended else 0.0, executor="pool" if tried else "", **{**fields, **more},
    )  # fmt: skip


def spec(key: str, *needs: str, step: str = "", **more: Any) -> StepSpec:
    """A node of a plan."""
    inputs = {f"from_{n}": (f"{need}.0",) for n, need in enumerate(needs)}
    fields: dict[str, Any] = {"options": StepOptions(), "doc": f"what {key} does", "inputs": inputs}
    return StepSpec(key=key, step=step or key, target=f"pipelines:{step or key}", needs=needs, **{**fields, **more})


PLAN = (
    spec("load", arguments={"path": MARKUP, "rows": 20}),
    spec("clean", "load", within="prepare"),
    spec("enrich", "clean", within="prepare", options=StepOptions(secrets=("WEATHER_KEY",), retries=3, environment="locks/enrich.lock")),
    spec("weather", "load", within="prepare/outside"),
    spec("features", "enrich", "weather", within="prepare"),
    spec("train", "features", kind="map", over=("depth",), options=StepOptions(cpus=2, memory_bytes=1 << 30)),
    spec("score", "train", options=StepOptions(retries=2)),
    spec("good", "score", conditions=(Condition(operator=">", source="score.0", path=("auc",), value=0.8),), step="publish"),
    spec(
        "poor",
        "score",
        conditions=(Condition(operator="not", parts=(Condition(operator=">", source="score.0", path=("auc",), value=0.8),)),),
    ),
    spec("report", "score", "load"),
    spec("tidy", options=StepOptions(run="always")),
)


def story(seeder: Seeder) -> dict[str, PipelineRun]:
    """A pipeline with a succeeded, a failed, a running and a queued run; answers them by state."""
    seeder.declare("flights", PLAN, f"Train on flights. {MARKUP}")
    code = [b"def load():\n    return 1\n", b"def load():\n    return 2\n"]
    trees = [
        seeder.blob(
            msgspec.json.encode(CodeTree(files={"pipelines.py": seeder.blob(text), "same.py": seeder.blob(b"same = 1\n")}), order="sorted")
        )
        for text in code
    ]
    locks = [seeder.blob(b"polars==1.30.0\nnumpy==2.3.0\n"), seeder.blob(b"polars==1.31.0\nnumpy==2.3.0\nscipy==1.16.0\n")]
    common = [{"code": tree, "lock": lock, "git_commit": "ab" * 20} for tree, lock in zip(trees, locks, strict=True)]
    done = seeder.run("flights", 1, "succeeded", PLAN, took=30.0, **common[0])
    _fill(seeder, done, "succeeded")
    broken = seeder.run(
        "flights", 2, "failed", PLAN, took=41.0, error=f"Traceback\n  ValueError: {MARKUP}", failed_step="score", git_dirty=True,
        switches={"PYTHONHASHSEED": "0"}, inputs={f"file data/{MARKUP}": "blake3:" + "cd" * 32}, **common[1],
    )  # fmt: skip
    _fill(seeder, broken, "failed")
    running = seeder.run("flights", 3, "running", PLAN, at=datetime.now(UTC) - timedelta(seconds=40), **common[1])
    _fill(seeder, running, "running")
    queued = seeder.run("flights", 4, "queued", at=datetime.now(UTC))
    return {"succeeded": done, "failed": broken, "running": running, "queued": queued}


def _fill(seeder: Seeder, run: PipelineRun, until: str) -> None:
    by = {s.key: s for s in PLAN}
    csv = b"carrier,delay\n" + f"UA,{MARKUP}\n".encode()
    frame = _frame()
    outputs = {
        "load": (
            seeder.artifact("rows", "polars", frame, kind="DataFrame"),
            seeder.artifact("raw", "file", csv, name=f"raw {MARKUP.replace('/', '')}.csv"),
        ),
        "clean": (seeder.artifact("output", "json", msgspec.json.encode({"kept": 19, "note": MARKUP, "run": run.number})),),
        "enrich": (
            seeder.artifact(
                "output",
                "report",
                f"<h1>Report</h1><script>document.title='ran'</script>{MARKUP}".encode(),
                title="A report",
                format="html",
            ),
        ),
        "weather": (seeder.artifact("output", "bytes", bytes(range(256)) * 40),),
        "features": (
            seeder.artifact("output", "report", b"# Features\n\n| a | b |\n|---|---|\n| 1 | <b>2</b> |\n", title=MARKUP, format="markdown"),
        ),
    }
    keys = ["load", "clean", "enrich", "weather", "features"]
    held = [step_of(run, by[key], n, "succeeded", n * 2.0, 1.5, outputs=outputs[key]) for n, key in enumerate(keys)]
    held[1] = step_of(run, by["clean"], 1, "cached", 2.0, 0.0, reason="Cached: nothing changed", outputs=outputs["clean"])
    changes = (
        Change(part="code", name="pipelines.enrich", before="a1", after="b2"),
        Change(part="library", name="polars", before="1.30.0", after="1.31.0"),
    )
    held[2] = step_of(
        run, by["enrich"], 2, "succeeded", 3.0, 4.0, attempts=2, outputs=outputs["enrich"], changes=changes, undeclared=("file data/secret.csv", f"variable {MARKUP}"),
        reason="Ran: its code changed (enrich); polars 1.30.0 -> 1.31.0",
    )  # fmt: skip
    total, ended, failed = 40, {"running": 17}.get(until, 40), {"failed": 3, "running": 1}.get(until, 0)
    one = (seeder.artifact("output", "json", b'{"auc":0.81}'),)
    train = step_of(
        run, by["train"], 5, "running" if until == "running" else "succeeded", 10.0, 9.0, items=total, items_done=ended, items_cached=6, items_failed=failed,
        outputs=(seeder.artifact("output", "items", manifest((one,) * total)),) if until != "running" else (),
    )  # fmt: skip
    items = [
        StepItem(
            step_run=train.id, position=n, status="failed" if n < failed else "cached" if n < failed + 6 else "succeeded", attempts=1, cache_key="blake3:" + "ef" * 32,
            outputs=() if n < failed else one, wall_s=0.2, cpu_s=0.2, peak_bytes=90 << 20, error=f"ValueError: {MARKUP}" if n < failed else "",
            log=seeder.blob(LOG.encode()) if n < 2 else "", worker="host-1", ended_at=run.started_at,
        )
        for n in range(ended)
    ]  # fmt: skip
    held.append(train)
    attempts = [
        _attempt(run, held[0], 1, "succeeded", LOG, seeder),
        _attempt(run, held[2], 1, "failed", "first try\n", seeder, took=1.0),
        _attempt(run, held[2], 2, "succeeded", LOG, seeder),
    ]
    rest: dict[str, StepStatus] = {"score": "waiting", "good": "waiting", "poor": "waiting", "report": "waiting", "tidy": "waiting"}
    if until == "succeeded":
        rest = {"score": "succeeded", "good": "succeeded", "poor": "skipped", "report": "succeeded", "tidy": "succeeded"}
    if until == "failed":
        rest = {"score": "failed", "good": "skipped", "poor": "skipped", "report": "skipped", "tidy": "succeeded"}
    for n, (key, status) in enumerate(rest.items(), 6):
        more: dict[str, Any] = {}
        if status == "skipped":
            more["reason"] = "Skipped: score.auc > 0.8 holds" if until == "succeeded" else "Skipped: score failed"
        if status == "succeeded" and key == "score":
            more["outputs"] = (seeder.artifact("metrics", "metrics", b'{"auc":0.8125,"loss":{"$float":"nan"}}'),)
        if status == "failed":
            more = {"attempts": 3, "error": f"Traceback (most recent call last):\n  File pipelines.py, line 3\nValueError: {MARKUP}"}
        held.append(step_of(run, by[key], n, status, 20.0 + n, 6.0 if status == "failed" else 1.0, **more))
        if status == "failed":
            attempts += [
                _attempt(run, held[-1], t, "failed", LOG, seeder, shift=(t - 1) * 2.0, took=1.5, error=f"ValueError: {MARKUP}")
                for t in (1, 2, 3)
            ]
    seeder.steps(run, held, attempts, items)


def _attempt(
    run: PipelineRun,
    step: StepRun,
    number: int,
    status: AttemptStatus,
    log: str,
    seeder: Seeder,
    *,
    shift: float = 0.0,
    took: float = 1.5,
    error: str = "",
) -> StepAttempt:
    start = (step.started_at or NOW) + timedelta(seconds=shift or (number - 1) * 1.5)
    return StepAttempt(
        id=new_id(), step_run=step.id, number=number, status=status, executor="pool", worker=f"host-1 {run.number}", started_at=start,
        ended_at=start + timedelta(seconds=took), wall_s=took, cpu_s=took, peak_bytes=120 << 20, error=error, log=seeder.blob(log.encode()),
    )  # fmt: skip


def _frame() -> bytes:
    import io

    import polars as pl

    buffer = io.BytesIO()
    pl.DataFrame({"carrier": ["UA", MARKUP], "delay": [1.5, None]}).write_parquet(buffer)
    return buffer.getvalue()


_MIX: list[StepStatus] = [*(["succeeded"] * 8), "cached", "skipped"]  # type: ignore[list-item]  # eight of one state


def large(seeder: Seeder, name: str, steps: int) -> PipelineRun:
    """A run of many steps: twenty names, each step needs up to three before it."""
    specs = tuple(
        spec(
            f"s{n}",
            *(f"s{m}" for m in sorted({max(0, n - 1 - seeder.rng.randrange(12)) for _ in range(min(3, n))})),
            step=f"stage_{n * 20 // steps}",
        )
        for n in range(steps)
    )
    run = seeder.run(name, 1, "succeeded", specs, took=500.0)
    held = [step_of(run, s, n, seeder.rng.choice(_MIX), n * 0.1, 0.5) for n, s in enumerate(specs)]
    seeder.steps(run, held)
    return run


def crowd(seeder: Seeder, runs: int = 2000, pipelines: int = 20) -> None:
    """Many runs of a few pipelines, each with a plan of thirty steps."""
    specs = tuple(spec(f"step_{n}", *((f"step_{n - 1}",) if n else ())) for n in range(30))
    for p in range(pipelines):
        seeder.declare(f"crowd-{p}", specs, "One of many.")

    def work(store: PipelineStore) -> None:
        for n in range(runs):
            status: PipelineRunStatus = "failed" if n % 9 == 0 else "succeeded"
            at = NOW + timedelta(minutes=n)
            store.add_run(
                PipelineRun(
                    id=new_id(), number=n // pipelines + 1, pipeline=f"crowd-{n % pipelines}", status=status, params={"rows": n}, cause=Cause(), seed=0,
                    use_cache=True, created_at=at, created_by="ana", started_at=at, ended_at=at + timedelta(seconds=30 + n % 40), steps=specs,
                    failed_step="step_3" if status == "failed" else "", wall_s=30.0, cpu_s=20.0,
                )
            )  # fmt: skip

    seeder.write(work)
