"""Writes tests/conformance/schemas/<number>.<engine>.sql: the schema of the newest migration, from the metadata.

The one for SQLite is also written beside the migrations, from where new homes are laid out. Run it in the commit that
adds a migration; a released dump is never written again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from rung.storage.migrate import TABLES, known, stamp
from rung.storage.tables import metadata

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "conformance" / "schemas"
ENGINES = {"sqlite": "sqlite://", "postgresql": "postgresql+psycopg://"}


def dump(url: str) -> str:
    """CREATE statements of every table and index, in order of dependence."""
    dialect = make_url(url).get_dialect()()
    statements: list[ExecutableDDLElement] = []
    for made in metadata().sorted_tables:
        statements.append(CreateTable(made))
        # a table's indexes are a set, whose order changes from process to process
        statements += [CreateIndex(index) for index in sorted(made.indexes, key=lambda index: str(index.name))]
    return ";\n\n".join(str(statement.compile(dialect=dialect)).strip() for statement in statements) + ";\n"


def main() -> int:
    """Write the dumps of the newest schema, or with ``--check`` say whether they still describe the tables."""
    newest, stale = known()[-1].number, []
    FOLDER.mkdir(exist_ok=True)
    for engine, url in ENGINES.items():
        text = dump(url)
        wanted = {FOLDER / f"{newest:04d}.{engine}.sql": text}
        if engine == "sqlite":
            wanted[TABLES] = stamp() + text
        for path, content in wanted.items():
            if not path.is_file() or path.read_text("utf-8") != content:
                stale.append(path.name)
                if "--check" not in sys.argv:
                    path.write_text(content, "utf-8")
    print(f"stale: {', '.join(stale) or 'none'}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
