"""Tracking: experiments, runs, metrics, artifacts.

A param is written once; a metric has steps and a latest value; tags may change. A run carries the context it
was made in: commit, lock, seeds, hardware.
"""
