"""Tests of pipelines: what each proves by its kind, reports of them, and help for those that ``rung test`` writes."""
