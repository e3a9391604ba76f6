"""The vocabulary every floor shares: records, requests, errors, families, settings, clock, ids, digests, events.

Nothing here does I/O beyond reading the settings file, and nothing here imports another floor.
"""
