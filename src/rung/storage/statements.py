"""Compiled statements of every engine of this process.

SQLAlchemy keeps them an engine, by its dialect object; but a reader and a writer, and databases opened one after the
other, are alike when product, driver and version are, and compiling a statement costs more than running it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.util import LRUCache

_MOST = 1000


class _Statements(LRUCache[Any, Any]):
    """By what a dialect is instead of which object it is."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_alike(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_alike(key), value)


def _alike(key: Any) -> Any:
    dialect = key[0]
    return (dialect.name, dialect.driver, getattr(dialect, "server_version_info", None), *key[1:])


STATEMENTS = _Statements(_MOST)
