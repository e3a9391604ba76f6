"""Evaluation: scores of a model version on a dataset version, whole and by slice, and how sure a difference is.

Two versions are compared on the same rows, by a paired bootstrap. A score that the rows do not define is left out.
"""
