"""Schema 5: saved views of runs, a table of its own."""

from sqlalchemy import Connection, text


def up(connection: Connection) -> None:
    """Make the table."""
    connection.execute(
        text(
            "CREATE TABLE saved_view (project VARCHAR(32) NOT NULL, principal VARCHAR(32) NOT NULL, name VARCHAR(120) NOT NULL,"
            " filter TEXT NOT NULL, order_by TEXT NOT NULL, columns TEXT NOT NULL, experiment INTEGER, updated_at BIGINT NOT NULL,"
            " CONSTRAINT pk_saved_view PRIMARY KEY (project, principal, name))"
        )
    )
