"""How mature a project is, proved by its own records.

Evidence is behaviour: what was run, gated, logged, joined, rolled back. Whatever no record proves counts as missing.
"""
