"""``rung predict``: ask a deployment about the rows of a file."""

from __future__ import annotations

import re
from pathlib import Path

import click

from rung.cli.frame import client, note, state, verb


@click.command("predict", short_help="Ask a deployment about the rows of a file.")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write answers as CSV or Parquet instead of showing them.")
@click.option("--id-column", help="Column that holds the prediction ids; fresh ids otherwise.")
@click.option("--time-column", help="Column that holds the event times (with zone); now otherwise.")
@click.option("--drop", multiple=True, help="Column that is not an input, such as the label; may be given several times.")
@click.option("--batch", default=1000, show_default=True, help="Rows a request.")
@verb
def command(
    name: str, file: Path, out: Path | None, id_column: str | None, time_column: str | None, drop: tuple[str, ...], batch: int
) -> None:
    """Ask a deployment about the rows of a CSV or Parquet file; each answer is logged under its prediction id.

    \b
    Example: rung predict churn new-customers.csv --id-column customer --out answers.csv
    """
    from rung.cli.predicting import read_rows, write_rows  # noqa: PLC0415

    frame = read_rows(file)
    taken = [column for column in (id_column, time_column, *drop) if column]
    absent = [column for column in taken if column not in frame.columns]
    if absent:
        raise click.UsageError(f"{file} has no column {absent[0]!r}; it has {', '.join(frame.columns)}.")
    from rung.core.errors import Invalid  # noqa: PLC0415 - `rung --help` must not pay for it

    try:
        answers = client().serving.predict(
            name,
            frame.drop(taken),
            event_times=frame[time_column] if time_column else None,
            ids=frame[id_column].cast(str).to_list() if id_column else None,
            batch=batch,
        )
    except Invalid as error:
        unknown = re.search(r"unknown ([^;,.]+)", error.message)
        if unknown is None:
            raise
        hint = f"`--drop {unknown[1]}` leaves that column out, `--id-column` and `--time-column` take one as ids or times."
        raise Invalid(error.message, code=error.code, hint=hint) from None
    if out is not None:
        write_rows(answers, out)
        note(f"{answers.height} answers in {out}")
    elif state().json:
        click.echo(answers.write_json())
    else:
        click.echo(answers.head(20).write_csv(separator="\t"), nl=False)
        if answers.height > 20:  # noqa: PLR2004
            note(f"… {answers.height} in all; --out FILE keeps them.")
