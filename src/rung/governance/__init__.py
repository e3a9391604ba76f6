"""Who may ask, what was asked, and what came from what: principals, roles, tokens, audit, lineage.

Tokens are kept as hashes and expire. The audit log is append-only and chained by hash. Every handler that makes
something from something writes a lineage edge in its own transaction.
"""
