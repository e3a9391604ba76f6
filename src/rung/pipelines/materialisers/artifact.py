"""The artifact types: metrics and reports as they are, datasets and models by the bytes of what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from rung.core.references import DatasetUse
from rung.pipelines import artifacts
from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Payload, load, materialise
from rung.pipelines.materialisers.json import compare_plain, tagged, untagged


@MATERIALISERS.member("metrics")
class Metrics:
    """Numbers by name."""

    rank = 95

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is Metrics."""
        return isinstance(value, artifacts.Metrics)

    @staticmethod
    def dump(value: Any) -> Payload:
        """Canonical JSON."""
        return Payload(msgspec.json.encode(tagged(dict(value)), order="sorted"))

    @staticmethod
    def load(payload: Payload, scratch: Path) -> artifacts.Metrics:
        """The metrics."""
        return artifacts.Metrics(untagged(msgspec.json.decode(_bytes(payload))))

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Numbers within the tolerance, by name."""
        return compare_plain(dict(original), dict(repeated), tolerance)


@MATERIALISERS.member("report")
class Report:
    """A text with a title."""

    rank = 85

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is a Report."""
        return isinstance(value, artifacts.Report)

    @staticmethod
    def dump(value: Any) -> Payload:
        """The text's bytes; title and format beside them."""
        return Payload(value.text.encode("utf-8", "surrogatepass"), {"title": value.title, "format": value.format})

    @staticmethod
    def load(payload: Payload, scratch: Path) -> artifacts.Report:
        """The report."""
        return artifacts.Report(payload.meta["title"], _bytes(payload).decode("utf-8", "surrogatepass"), payload.meta["format"])

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Equal or not."""
        return Difference("identical", "equal") if original == repeated else Difference("different", "the report says something else")


@MATERIALISERS.member("dataset")
class Dataset:
    """Rows with a name, in the bytes of their frame."""

    rank = 85

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is a Dataset."""
        return isinstance(value, artifacts.Dataset)

    @staticmethod
    def dump(value: Any) -> Payload:
        """The frame's bytes; name and version beside them."""
        more = {"name": value.name, "version": msgspec.to_builtins(value.version)}
        return _shelled(value.frame, {name: item for name, item in more.items() if item})

    @staticmethod
    def load(payload: Payload, scratch: Path) -> artifacts.Dataset:
        """The dataset, its frame fresh."""
        version = payload.meta.get("version")
        return artifacts.Dataset(
            _held(payload, scratch), name=payload.meta.get("name", ""), version=msgspec.convert(version, DatasetUse) if version else None
        )

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """As frames."""
        return _compared(original.frame, repeated.frame, tolerance)


@MATERIALISERS.member("model")
class Model:
    """A fitted estimator with a name, in the estimator's bytes."""

    rank = 85

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is a Model."""
        return isinstance(value, artifacts.Model)

    @staticmethod
    def dump(value: Any) -> Payload:
        """The estimator's bytes; name and metrics beside them."""
        more = {"name": value.name, "metrics": tagged(dict(value.metrics))}
        return _shelled(value.estimator, {name: item for name, item in more.items() if item})

    @staticmethod
    def load(payload: Payload, scratch: Path) -> artifacts.Model:
        """The model, its estimator fresh."""
        return artifacts.Model(
            _held(payload, scratch), name=payload.meta.get("name", ""), metrics=untagged(payload.meta.get("metrics", {}))
        )

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """As estimators, and by their metrics."""
        found = _compared(original.estimator, repeated.estimator, tolerance)
        if found.likeness == "different":
            return found
        metrics = compare_plain(dict(original.metrics), dict(repeated.metrics), tolerance, "metrics")
        return metrics if metrics.likeness != "identical" else found


def _shelled(value: Any, more: dict[str, Any]) -> Payload:
    kind, payload = materialise(value, where="value it holds")
    return Payload(payload.data, {"holds": kind, "meta": payload.meta, **more})


def _held(payload: Payload, scratch: Path) -> Any:
    return load(str(payload.meta["holds"]), Payload(payload.data, payload.meta["meta"]), scratch)


def _compared(original: Any, repeated: Any, tolerance: float) -> Difference:
    kinds = [next(name for name, member in _by_rank() if member.accepts(value)) for value in (original, repeated)]
    if kinds[0] != kinds[1]:
        return Difference("different", f"held {kinds[0]}, holds {kinds[1]}")
    return MATERIALISERS.get(kinds[0]).compare(original, repeated, tolerance)


def _by_rank() -> list[tuple[str, Any]]:
    return sorted(MATERIALISERS.items(), key=lambda item: -item[1].rank)


def _bytes(payload: Payload) -> bytes:
    return payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
