"""Fingerprints: a digest of a function and of every function, class, constant and module of the project it reaches.

Functions and classes enter by their syntax tree without comments, docstrings and positions; other values by canonical
bytes; of installed packages only which are reached (their versions are the environment's part of a key). What cannot
be followed makes the fingerprint unsure, and an unsure step is not cached.
"""

from rung.pipelines.fingerprint.walk import Fingerprint, fingerprint

__all__ = ["Fingerprint", "fingerprint"]
