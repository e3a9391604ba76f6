"""SQLAlchemy's words for the stores, looked up when a statement is built and not when a store is imported.

Loading SQLAlchemy costs more than all the rest of a short command, and what such a command asks is said in plain
statements (``rung.storage.plain``). So words that declare (``Column``, ``String`` …) only note what was said, and words that
build (``select``, ``func`` …) find SQLAlchemy when they are used. Types are SQLAlchemy's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rung.storage.connection import Connection as Connection  # stores have all their words from here
from rung.storage.later import Declaring, Word

if TYPE_CHECKING:
    from sqlalchemy import BigInteger as BigInteger
    from sqlalchemy import Boolean as Boolean
    from sqlalchemy import Column as Column
    from sqlalchemy import ColumnElement as ColumnElement
    from sqlalchemy import Float as Float
    from sqlalchemy import Index as Index
    from sqlalchemy import Integer as Integer
    from sqlalchemy import LargeBinary as LargeBinary
    from sqlalchemy import Select as Select
    from sqlalchemy import String as String
    from sqlalchemy import Table as Table
    from sqlalchemy import Text as Text
    from sqlalchemy import UniqueConstraint as UniqueConstraint
    from sqlalchemy import and_ as and_
    from sqlalchemy import bindparam as bindparam
    from sqlalchemy import case as case
    from sqlalchemy import column as column
    from sqlalchemy import delete as delete
    from sqlalchemy import func as func
    from sqlalchemy import insert as insert
    from sqlalchemy import literal as literal
    from sqlalchemy import not_ as not_
    from sqlalchemy import or_ as or_
    from sqlalchemy import select as select
    from sqlalchemy import text as text
    from sqlalchemy import type_coerce as type_coerce
    from sqlalchemy import update as update

_DECLARING = {
    "BigInteger", "Boolean", "Column", "Float", "Index", "Integer", "LargeBinary", "String", "Text", "UniqueConstraint", "text",
}  # fmt: skip


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        word = globals()[name] = (Declaring if name in _DECLARING else Word)(name)
        return word
