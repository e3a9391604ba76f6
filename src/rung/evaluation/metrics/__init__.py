"""Metrics: scores of a model on labelled rows, each entered with ``@metric`` in a file of this package."""
