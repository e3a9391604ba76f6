"""Blobs: immutable bytes addressed by their BLAKE3 digest, in a backend chosen by the scheme of its URL."""

from rung.storage.blobs.store import BACKENDS, BlobStore, Flaw, Kept, open_blobs

__all__ = ["BACKENDS", "BlobStore", "Flaw", "Kept", "open_blobs"]
