"""Whether what is stored is whole: blobs against their digests, rows against blobs and projects, the database itself.

A column tells by ``info={"blobs": paths}`` where it names blobs: keys in dots, ``*`` for every element, ``""`` for the
value itself. What keeps its bytes ``inline`` names none.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from rung.core.errors import NotFound, Unavailable
from rung.storage.blobs import Flaw
from rung.storage.scope import Scope
from rung.storage.sql import Column, Table, func, select, text
from rung.storage.tables import metadata

_SYSTEM = "0" * 32  # the project of rows from before there was one
_DIGEST_LENGTH = 71


def check_blobs(scope: Scope, digests: Iterable[str], *, repair: bool) -> Iterator[Flaw]:
    """Read blobs; those that cannot be read, or are not what their digest says."""
    for digest in digests:
        try:
            scope.blobs.get(digest)
        except NotFound:
            continue  # collected since the list was made
        except Unavailable as error:
            if error.code != "blobs.damaged":
                raise
            aside = repair and hasattr(scope.blobs, "set_aside")
            mended = aside and scope.blobs.set_aside(digest)  # type: ignore[attr-defined]  # asked just now
            yield Flaw("damaged", digest, "a whole copy was found" if mended else "set aside" if aside else "", bool(mended))


def sampled(digests: list[str], size: int | None) -> list[str]:
    """So many of them by chance; all for None."""
    return digests if size is None or size >= len(digests) else random.sample(digests, size)


def check_files(scope: Scope, *, thorough: bool, repair: bool) -> Iterator[Flaw]:
    """What the blob backend finds wrong with its own files; nothing from one that cannot look."""
    if hasattr(scope.blobs, "examine"):
        yield from scope.blobs.examine(thorough=thorough, repair=repair)


def check_rows(scope: Scope, kept: set[str]) -> tuple[int, list[Flaw]]:
    """How many names of blobs were followed, and those of which there is no blob; digests of this project only."""

    def read(inside: Scope) -> tuple[int, list[Flaw]]:
        followed, flaws = 0, []
        for item, column in _naming():
            owner = item.c.project if "project" in item.c else None
            query = select(column) if owner is None else select(column, owner)
            for row in inside.connection.execute(query, execution_options={"yield_per": 1000}):
                for digest in _digests_at(row[0], column.info["blobs"]):
                    followed += 1
                    if digest not in kept and not scope.blobs.exists(digest):
                        ours = len(row) == 1 or row[1] == scope.project
                        flaws.append(Flaw("missing", f"{item.name}.{column.name}", digest if ours else "of another project"))
        return followed, flaws

    return scope.read(read)


def check_database(scope: Scope) -> list[Flaw]:
    """What the database finds wrong with itself, rows that point at no row, and rows of no project."""
    return scope.read(lambda inside: [*_integrity(inside), *_projectless(inside)])


def _integrity(inside: Scope) -> Iterator[Flaw]:
    if inside.database.dialect != "sqlite":
        return  # PostgreSQL watches its pages and its foreign keys itself
    for (line,) in inside.connection.execute(text("PRAGMA integrity_check")):
        if line != "ok":
            yield Flaw("database", "integrity_check", str(line))
    for row in inside.connection.execute(text("PRAGMA foreign_key_check")):
        yield Flaw("foreign_key", str(row[0]), f"row {row[1]} points at no row of {row[2]}")


def _projectless(inside: Scope) -> Iterator[Flaw]:
    tables = metadata()
    projects = tables.tables["project"]
    known = select(projects.c.id)
    for item in tables.sorted_tables:
        if "project" in item.c and item is not projects:
            lost = select(func.count()).where(item.c.project.not_in(known), item.c.project != _SYSTEM)
            count = inside.connection.execute(lost).scalar_one()
            if count:
                yield Flaw("project", item.name, f"{count} rows of a project that is not there")


def _naming() -> Iterator[tuple[Table, Column[Any]]]:
    for item in metadata().sorted_tables:
        for column in item.columns:
            if "blobs" in column.info:
                yield item, column


def _digests_at(value: Any, paths: tuple[str, ...]) -> Iterator[str]:
    for path in paths:
        for found in _at(value, path.split(".") if path else []):
            if isinstance(found, str) and found.startswith("blake3:") and len(found) == _DIGEST_LENGTH:
                yield found


def _at(value: Any, keys: list[str]) -> Iterator[Any]:
    if not keys:
        yield value
    elif keys[0] == "*":
        for element in value.values() if isinstance(value, dict) else value or ():
            yield from _at(element, keys[1:])
    elif isinstance(value, dict) and value.get("inline") is None:
        yield from _at(value.get(keys[0]), keys[1:])
