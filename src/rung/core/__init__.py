"""The vocabulary every floor shares: records, requests, errors, families, settings, clock, ids, digests, events.

Nothing here does I/O beyond the settings file, locks and the writing of single files, and nothing here imports another floor.
"""
