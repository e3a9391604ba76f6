"""Schema 1: the tables of release 0.1, which a new database gets from the metadata itself."""

from sqlalchemy import Connection


def up(connection: Connection) -> None:
    """Nothing to do: no database older than this one exists."""
