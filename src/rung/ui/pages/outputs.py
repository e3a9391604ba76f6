"""What steps made, with a preview by kind: tables, metrics, reports, pictures, JSON, text, arrays, lists of items."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from rung.app.local import LocalTransport
from rung.core.errors import NotFound
from rung.pipelines.items import ITEMS, items_of
from rung.pipelines.records import Artifact, GetPipelineRun, ListStepItems, PipelineRun, StepItem, StepRun
from rung.ui import words
from rung.ui.blocks import Part, Visit
from rung.ui.previews import MOST_PICTURE, MOST_TEXT, Preview, preview, raw_type
from rung.ui.words import digest

MOST_PREVIEWS = 12
_LONGEST = 20_000
_SHOWN_ITEMS, _VALUE = 50, 200
_ENDINGS = {
    "json": ".json", "record": ".json", "metrics": ".json", "tree": ".json", "polars": ".parquet", "pandas": ".parquet", "arrow": ".parquet", ITEMS: ".json",
    "bytes": ".bin", "numpy": ".npy", "estimator": ".skops", "model": ".skops",
}  # fmt: skip
_REPORTS = {"markdown": ".md", "html": ".html", "text": ".txt"}
_FRAMES = {"polars", "pandas", "arrow"}


def outputs_part(visit: Visit, run: PipelineRun, held: StepRun | StepItem, base: str) -> list[object]:
    """Every output with its preview; of very many, the first."""
    if not held.outputs:
        return []
    item = {"item": held.position} if isinstance(held, StepItem) else {}
    shown = [
        _shown(visit, artifact, f"/outputs/{base.removeprefix('/pipeline-runs/')}", index, item)
        for index, artifact in enumerate(held.outputs)
    ]
    return [Part("outputs.html", {"outputs": shown[:100], "more": max(0, len(shown) - 100)}, "Outputs")]


def _shown(visit: Visit, artifact: Artifact, place: str, index: int, item: dict[str, int]) -> dict[str, Any]:
    query = words.query(name=artifact.name, index=index, **item)
    found = Preview("none", note="Choose fewer outputs to see more previews.") if index >= MOST_PREVIEWS else preview_of(visit, artifact)
    return {
        "name": artifact.name, "kind": artifact.kind, "size": words.size(artifact.size_bytes), "digest": digest(artifact.digest), "preview": found,
        "raw": f"{place}?{query}", "file": file_name(artifact), "about": about(artifact),
    }  # fmt: skip


def about(artifact: Artifact) -> list[tuple[str, str]]:
    """What is known of a value besides its bytes."""
    meta = {
        name: value
        for name, value in artifact.meta.items()
        if name not in {"kind", "meta", "title", "format", "holds"} and value not in {"", None}
    }
    return (
        [(str(name), value if isinstance(value, str) else json.dumps(value, default=str)[:_LONGEST]) for name, value in meta.items()]
        if meta
        else []
    )


def file_name(artifact: Artifact) -> str:
    """A name for the bytes of an output, whose ending says what they are."""
    kind, meta = artifact.kind, artifact.meta
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in artifact.name)[:80] or "output"
    if kind == "file":
        name = str(meta.get("name", stem)).replace("\\", "/").rpartition("/")[2][:200]
        return f"{name}.tar" if meta.get("folder") else name
    if kind == "report":
        return stem + _REPORTS.get(str(meta.get("format")), ".txt")
    if kind == "dataset":
        return stem + _ENDINGS.get(str(meta.get("holds")), ".parquet")
    return stem + _ENDINGS.get(kind, ".bin")


def preview_of(visit: Visit, artifact: Artifact) -> Preview:
    """The preview of an output. Bytes that are gone, or of a kind that cannot be shown, are a note."""
    name = file_name(artifact)
    if artifact.kind == "file" and artifact.meta.get("folder"):
        return Preview("none", note="A folder; it is saved as a tar file.")
    try:
        with local_file(visit, artifact) as file:
            if artifact.kind == "metrics":
                return _metrics(file)
            if artifact.kind == "numpy":
                return _array(file)
            if artifact.kind == ITEMS:
                return _items(file)
            if name.endswith((".skops", ".bin", ".tar")):
                return Preview(
                    "none", note=f"A {artifact.kind}, to be loaded from Python." if artifact.kind != "bytes" else "These are bytes."
                )
            found = preview(name, artifact.size_bytes, file)
    except NotFound:
        return Preview("none", note="These bytes are not there any more.")
    if found.kind == "text" and len(found.content) > _LONGEST:
        return Preview("text", found.content[:_LONGEST], f"The first {_LONGEST:,} characters; save it to see the rest.")
    return found


@contextmanager
def local_file(visit: Visit, artifact: Artifact) -> Iterator[Path]:
    """The bytes of an output as a file of this machine, for as long as they are looked at. Raises NotFound, Denied."""
    lasting = lasting_file(visit, artifact)
    if lasting is not None:
        yield lasting
        return
    data = artifact.inline if artifact.inline is not None else visit.transport.get_blob(artifact.digest)
    with tempfile.NamedTemporaryFile() as kept:
        kept.write(data)
        kept.flush()
        yield Path(kept.name)


def lasting_file(visit: Visit, artifact: Artifact) -> Path | None:
    """The file of this machine that holds the bytes; None where they lie in a row or elsewhere. Raises NotFound, Denied."""
    if artifact.inline is not None or not isinstance(visit.transport, LocalTransport):
        return None
    visit.transport.allow("blob:read")
    place = visit.transport.platform.blobs.url(artifact.digest)
    file = Path(urlsplit(place).path if "://" in place else place)
    return file if file.is_file() else None


def asked_output(visit: Visit) -> Artifact:
    """The output that an address below ``/outputs`` names. Raises NotFound."""
    run, step = visit.path["id"], visit.path["step"]
    index, item = visit.number("index") or 0, visit.number("item")
    if item is None:
        held: Sequence[Artifact] = next((s.outputs for s in visit.ask(GetPipelineRun(id=run)).steps if s.key == step), ())
    else:
        found = visit.ask(ListStepItems(pipeline_run=run, step=step, after=min(item, 2**31 - 1) - 1, limit=1))
        held = found[0].outputs if found and found[0].position == item else ()
    if index >= len(held):
        raise NotFound(f"{step!r} has no output {index}.", code="ui.no_page", hint="The step's page lists its outputs.")
    return held[index]


def output_type(artifact: Artifact) -> str:
    """The type under which an output is shown by itself."""
    if artifact.kind == "report" and artifact.meta.get("format") == "html":
        return raw_type("x.html")
    kind = raw_type(file_name(artifact)) if artifact.kind == "file" else "application/octet-stream"
    return kind if artifact.size_bytes <= MOST_PICTURE else "application/octet-stream"


def _metrics(file: Path) -> Preview:
    held = _decoded(file)
    if not isinstance(held, dict):
        return Preview("none", note="These are no metrics that can be read.")
    rows = tuple((str(name), _number(value)) for name, value in list(held.items())[:500])
    return Preview("table", rows, f"{words.many(len(held), 'metric')}.", ("metric", "value"))


def _number(value: Any) -> str:
    value = value.get("$float", value) if isinstance(value, dict) else value
    return words.number(value, 6) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _array(file: Path) -> Preview:
    import numpy as np  # noqa: PLC0415 - pages without arrays need not load it

    try:
        held = np.load(file, allow_pickle=False, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        return Preview("none", note=f"This is no array that can be read: {str(error)[:200]}")
    shown = np.array2string(held if held.size <= 1000 else held.ravel()[:1000], threshold=200, max_line_width=120)  # noqa: PLR2004 - as much as one reads
    return Preview("text", shown, f"An array of {' x '.join(map(str, held.shape)) or 'one value'}, {held.dtype}.")


def _items(file: Path) -> Preview:
    try:
        held = items_of(file)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return Preview("none", note="This list cannot be read.")
    rows = tuple((str(position), *_value(artifacts)) for position, artifacts in enumerate(held[:_SHOWN_ITEMS]))
    note = f"The first {len(rows)} of {words.many(len(held), 'item')}." if len(held) > len(rows) else f"{words.many(len(held), 'item')}."
    return Preview("table", rows, note, ("item", "kind", "size", "value"))


def _value(artifacts: Sequence[Artifact]) -> tuple[str, str, str]:
    inline = [
        a.inline.decode("utf-8", "replace")[:_VALUE] if a.inline is not None and a.kind == "json" else words.MISSING for a in artifacts
    ]
    return ", ".join(a.kind for a in artifacts), ", ".join(words.size(a.size_bytes) for a in artifacts), ", ".join(inline)


def _decoded(file: Path) -> Any:
    with file.open("rb") as opened:
        data = opened.read(MOST_TEXT)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
