"""Materialisers: how a step's output becomes canonical bytes and a value again; one file a kind. Never pickle."""

from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Materialiser, Part, Payload, compare, load, materialise

__all__ = ["MATERIALISERS", "Difference", "Materialiser", "Part", "Payload", "compare", "load", "materialise"]
