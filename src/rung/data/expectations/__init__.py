"""Expectations: checkable claims about a table, one kind a file, all of a dataset's checked in one pass."""

from rung.data.expectations.family import EXPECTATIONS, Check, Claim

__all__ = ["EXPECTATIONS", "Check", "Claim"]
