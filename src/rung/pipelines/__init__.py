"""Pipelines: plain functions as steps, traced into a plan; fingerprints, cache keys, triggers and reproductions.

A step is cached by what it is (code, with everything it calls), what it was given (content, never ids) and where it
ran (lock, Python). When unsure, it is not cached. Outputs are canonical bytes; pickle is never used.
"""
