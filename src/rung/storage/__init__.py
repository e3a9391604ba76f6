"""Rows (SQLAlchemy Core on SQLite and PostgreSQL), blobs (six verbs) and migrations.

Rows decide, blobs follow: a blob is on disk before the row that names it. Only stores and this floor see SQL.
"""
