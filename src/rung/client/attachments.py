"""Tables, figures, texts and folders as artifacts of the current run."""

from __future__ import annotations

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from rung.client.current import current_run
from rung.core.errors import Invalid, RungError
from rung.tracking.records import Artifact

_PREVIEW_ROWS = 100
_SIDE_BY_SIDE = 8
_IMAGES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}


def log_text(text: str, path: str) -> Artifact:
    """Store a text as an output of the current run."""
    if not isinstance(text, str):
        raise Invalid(f"{path}: {type(text).__name__} is no text.", code="tracking.no_text", hint="Use rung.log_dict or str(…).")
    return current_run().log_artifact(text.encode("utf-8", "surrogatepass"), path)


def log_dict(value: Mapping[str, Any] | list[Any], path: str) -> Artifact:
    """Store a dict or list as a JSON file."""
    if not path.endswith(".json"):
        raise Invalid(f"{path!r} does not end in .json.", code="tracking.no_json", hint="Name the file for example 'config.json'.")
    try:
        content = msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=2)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"{path}: it cannot be written as JSON: {error}.", code="tracking.no_json", hint="Convert what it names.") from None
    return current_run().log_artifact(content, path)


def log_table(table: Any, path: str = "table.parquet") -> Artifact:
    """Store a table as Parquet, with its first rows beside it as ``….preview.json``.

    Args:
        table: a Polars, pandas or Arrow table, a list of dicts, a dict of columns, or a NumPy array.
        path: its name; must end in .parquet.

    Raises:
        Invalid: it is no table.
    """
    run = current_run()
    kept = [run.log_artifact(content, name) for name, content in parquet_files(table, path).items()]
    return kept[-1]


def parquet_files(table: Any, path: str) -> dict[str, bytes]:
    """A table as Parquet, after the JSON of its first rows; both by their paths. Raises Invalid when it is no table."""
    import polars as pl  # noqa: PLC0415 - whoever logs no table does not load it

    if not path.endswith(".parquet"):
        raise Invalid(f"{path!r} does not end in .parquet.", code="tracking.no_parquet", hint="Name it for example 'scores.parquet'.")
    frame = _frame(table, path)
    buffer = io.BytesIO()
    try:
        frame.write_parquet(buffer, compression="zstd")
    except pl.exceptions.PolarsError as error:
        raise Invalid(f"{path} cannot be written: {error}", code="tracking.no_table", hint="Drop or convert the column.") from None
    head = frame.head(_PREVIEW_ROWS)
    preview = {
        "rows": frame.height,
        "columns": [{"name": name, "type": str(kind)} for name, kind in frame.schema.items()],
        "head": [[_cell(value) for value in row] for row in head.iter_rows()],
    }
    return {path.removesuffix(".parquet") + ".preview.json": msgspec.json.encode(preview), path: buffer.getvalue()}


def log_figure(figure: Any, path: str | None = None) -> Artifact:
    """Store a figure: of Matplotlib, Plotly or Pillow, or the bytes of an image file; the path's ending chooses the format."""
    if isinstance(figure, bytes):
        return current_run().log_artifact(figure, path or "figure.png")
    drawn = getattr(figure, "figure", None) if hasattr(figure, "get_figure") else None
    figure = drawn if drawn is not None and not hasattr(figure, "savefig") else figure
    default = "figure.html" if hasattr(figure, "to_html") else "figure.png"
    path = path or default
    ending = Path(path).suffix.lower()
    try:
        content = _drawn(figure, ending)
    except (ValueError, OSError, KeyError) as error:
        raise Invalid(
            f"{path}: the figure cannot be written as {ending or 'nothing'}: {error}", code="tracking.no_figure",
            hint="Use .png or .svg; for Plotly .html or .json.",
        ) from None  # fmt: skip
    return current_run().log_artifact(content, path)


def log_artifacts(folder: Path | str, path: str = "") -> tuple[Artifact, ...]:
    """Store every file below a folder, several at a time, under ``path``.

    Raises:
        Invalid: it is no folder, or some files could not be stored: the message names them, the others are.
    """
    root = Path(folder)
    if not root.is_dir():
        raise Invalid(f"There is no folder {root}.", code="tracking.no_folder", hint="One file: rung.log_artifact(file).")
    run, prefix = current_run(), f"{path.strip('/')}/" if path.strip("/") else ""
    files = sorted(item for item in root.rglob("*") if item.is_file())

    def keep(file: Path) -> Artifact | str:
        name = prefix + file.relative_to(root).as_posix()
        try:
            return run.log_artifact(file, name)
        except (RungError, OSError) as error:
            return f"{name}: {error}"

    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="rung-artifacts") as pool:
        done = list(pool.map(keep, files))
    failed = [item for item in done if isinstance(item, str)]
    if failed:
        raise Invalid(
            f"{len(failed)} of {len(files)} files of {root} were not stored: {'; '.join(failed[:5])}", code="tracking.files_failed",
            hint="Mend these and log the folder again; what is stored already is not sent twice.",
        )  # fmt: skip
    return tuple(item for item in done if isinstance(item, Artifact))


def _frame(table: Any, path: str) -> Any:
    from rung.registry.packing import as_polars  # noqa: PLC0415 - loads Polars

    if isinstance(table, (str, bytes, int, float)):
        raise Invalid(
            f"{path}: {type(table).__name__} is no table.", code="tracking.no_table", hint="Give a data frame or a list of dicts."
        )
    try:
        return as_polars(table)
    except RungError as error:
        raise Invalid(f"{path}: {error.message}", code="tracking.no_table", hint="Give a data frame or a list of dicts.") from None


def _drawn(figure: Any, ending: str) -> bytes:
    buffer = io.BytesIO()
    if hasattr(figure, "savefig"):  # Matplotlib
        figure.savefig(buffer, format=ending.lstrip("."), bbox_inches="tight")
        return buffer.getvalue()
    if hasattr(figure, "to_html") and hasattr(figure, "to_json"):  # Plotly, Altair
        if ending == ".html":
            text: str = figure.to_html(include_plotlyjs=True) if hasattr(figure, "to_image") else figure.to_html()
            return text.encode()
        if ending == ".json":
            return str(figure.to_json()).encode()
        return bytes(figure.to_image(format=ending.lstrip(".")))
    if hasattr(figure, "save") and hasattr(figure, "mode"):  # Pillow
        figure.save(buffer, format=_IMAGES[ending])
        return buffer.getvalue()
    raise Invalid(
        f"{type(figure).__name__} is no figure.", code="tracking.no_figure", hint="Give a Matplotlib, Plotly or Pillow figure, or bytes."
    )


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value if not isinstance(value, str) else value[:500]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)  # noqa: PLR0124 - NaN
    return str(value)[:500]


def _plain(value: Any) -> Any:
    """What msgspec does not write by itself: arrays and scalars of NumPy and the like, paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"a {type(value).__name__}")
