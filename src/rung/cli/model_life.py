"""The part of ``rung model`` about what happens to a version between its making and its end."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from rung.cli.frame import client, note, show, state, table, verb

_STAGES = ("none", "staging", "production", "archived")
_TASKS = ("binary", "multiclass", "regression")
_SHORT = ("model", "number", "stage", "aliases", "task", "label", "digest", "tags", "description")


@click.command("register-logged")
@click.argument("model")
@click.argument("source")
@click.option("--label", help="Column that holds the truth, which MLflow does not know.")
@click.option("--description", default="", help="What it is.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Tag of the version; repeatable.")
@verb
def register_logged(model: str, source: str, label: str | None, description: str, tags: tuple[str, ...]) -> None:
    """Register what was logged as the next version: runs:/RUN/model, models:/m-ID, models:/NAME/NUMBER (a copy).

    \b
    Example: rung model register-logged late-flights models:/m-0199cd1c2d7b7c6a9d1f5c0e8a4b2f31 --label late
    """
    made = client().registry.register_logged(model, source, label=label, description=description, tags=_pairs(tags))
    show(made, ("model", "number", "digest", "format", "size_bytes", "task", "unservable"))


@click.command("describe")
@click.argument("model")
@click.argument("number", required=False, type=int)
@click.option("--description", help="What it is, in words.")
@click.option("--label", help="Column that holds the truth; only where nobody said.")
@click.option("--task", type=click.Choice(_TASKS), help="What it predicts; only where nobody said.")
@click.option("--class", "classes", multiple=True, help="A label value, in the order of the scores; repeatable.")
@click.option("--threshold", type=float, help="Score from which a binary model says yes.")
@verb
def describe(
    model: str, number: int | None, description: str | None, label: str | None, task: str | None, classes: tuple[str, ...],
    threshold: float | None,
) -> None:  # fmt: skip
    """Describe a model, or with a number one version; and say once of a version what nobody knew.

    \b
    Example: rung model describe late-flights 3 --description "Winter data left out." --label late
    """
    held = client().registry
    said = {"label": label, "task": task, "threshold": threshold, "classes": tuple(_plain(text) for text in classes)}
    if not any([description is not None, label, task, classes, threshold is not None]):
        raise click.UsageError("Nothing is said. Give --description, --label, --task, --class or --threshold.")
    if number is None:
        if any(value not in (None, ()) for value in said.values()):
            raise click.UsageError("Label, task, classes and threshold are of a version: give its number.")
        show(held.update_model(model, description=description), ("name", "task", "versions", "aliases", "tags", "description"))
        return
    made: Any = None
    if any(value not in (None, ()) for value in said.values()):
        made = held.describe(model, number, **said)  # type: ignore[arg-type]  # the choices of --task are the tasks
    if description is not None:
        made = held.update_version(model, number, description=description)
    show(made, _SHORT)


@click.command("tag")
@click.argument("model")
@click.argument("number", required=False, type=int)
@click.option("-s", "--set", "given", multiple=True, metavar="KEY=VALUE", help="Tag to set; repeatable.")
@click.option("-r", "--remove", multiple=True, metavar="KEY", help="Tag to remove; repeatable.")
@verb
def tag(model: str, number: int | None, given: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Show, set and remove tags of a model, or with a number of one version.

    \b
    Example: rung model tag late-flights 3 --set reviewed=yes --remove draft
    """
    held = client().registry
    changes: dict[str, str | None] = {**_pairs(given), **dict.fromkeys(remove)}
    found: Any
    if number is None:
        found = held.update_model(model, tags=changes) if changes else held.model(model)
    else:
        found = held.update_version(model, number, tags=changes) if changes else held.version(model, number)
    if state().json:
        show(found)
    else:
        table(["tag", "value"], sorted(found.tags.items()))


@click.command("stage")
@click.argument("model")
@click.argument("number", type=int)
@click.argument("stage", type=click.Choice(_STAGES))
@click.option("--archive-others", is_flag=True, help="Archive the versions that are in the stage now.")
@verb
def stage(model: str, number: int, stage: Any, *, archive_others: bool) -> None:
    """Move a version to a stage; the aliases `staging` and `production` follow. Prefer aliases and promotion.

    \b
    Example: rung model stage late-flights 3 staging
    """
    show(client().registry.set_stage(model, number, stage, archive_others=archive_others), _SHORT)


@click.command("approvals")
@click.argument("model")
@click.argument("number", required=False, type=int)
@click.option("--need", type=click.IntRange(0, 10), help="Ask for so many approvals before promotion and production; 0 asks for none.")
@click.option("--role", "roles", multiple=True, help="Roles whose approvals count; repeatable; with --need.")
@verb
def approvals(model: str, number: int | None, need: int | None, roles: tuple[str, ...]) -> None:
    """Approvals of a version, the newest unless a number is given; with --need, say how many a model's versions need.

    \b
    Example: rung model approvals late-flights --need 1
    """
    held = client().registry
    if need is not None:
        show(held.set_approval_rule(model, need, roles=roles), ("model", "needed", "roles", "set_by"))
        return
    if roles:
        raise click.UsageError("--role goes with --need.")
    found = held.approvals(model, number or held.version(model).number)
    if state().json:
        show(found)
        return
    table(
        ["id", "by", "role", "says", "at", "until", "revoked at", "comment"],
        [[a.id, a.by, a.role, "no" if a.rejected else "yes", a.created_at, a.until, a.revoked_at, a.comment] for a in found.approvals],
    )  # fmt: skip
    note(found.missing or f"{found.counted} of {found.rule.needed} approvals that are needed.")


@click.command("approve")
@click.argument("model")
@click.argument("number", type=int)
@click.option("--digest", help="Digest of what you looked at, so that nothing else is approved; default what it is now.")
@click.option("--comment", default="", help="What you looked at.")
@click.option("--until", metavar="DATE", help="When the approval ends, such as 2027-01-31; default never.")
@verb
def approve(model: str, number: int, digest: str | None, comment: str, until: str | None) -> None:
    """Approve a version that somebody else registered.

    \b
    Example: rung model approve late-flights 3 --comment "Looked at the slices of EWR."
    """
    made = client().registry.approve(model, number, digest=digest, comment=comment, until=_instant(until) if until else None)
    show(made, ("id", "model", "number", "digest", "by", "role", "until", "comment"))


@click.command("reject")
@click.argument("model")
@click.argument("number", type=int)
@click.argument("why")
@verb
def reject(model: str, number: int, why: str) -> None:
    """Say no to a version: it is neither promoted nor deployed to production until you take it back.

    \b
    Example: rung model reject late-flights 3 "The slices of EWR look odd."
    """
    show(client().registry.reject(model, number, why), ("id", "model", "number", "digest", "by", "comment"))


@click.command("revoke")
@click.argument("approval")
@verb
def revoke(approval: str) -> None:
    """Take an approval or a rejection back by its id.

    \b
    Example: rung model revoke 01a1fbb3f9937000b300c55d9cbfbbff
    """
    show(client().registry.revoke_approval(approval), ("id", "model", "number", "by", "revoked_at", "revoked_by"))


@click.command("rename")
@click.argument("model")
@click.argument("name")
@verb
def rename(model: str, name: str) -> None:
    """Give a model another name; versions, aliases, verdicts and lineage follow. Refused while it is deployed.

    \b
    Example: rung model rename late late-flights
    """
    show(client().registry.rename_model(model, name), ("name", "task", "versions", "aliases"))


@click.command("delete")
@click.argument("model")
@click.argument("number", required=False, type=int)
@click.option("--remove-aliases", is_flag=True, help="Remove the aliases that point at the version, too.")
@verb
def delete(model: str, number: int | None, *, remove_aliases: bool) -> None:
    """Delete a version, or a whole model, that nothing serves. It can be restored until `rung gc` removes it for good.

    \b
    Example: rung model delete late-flights 3
    """
    held = client().registry
    if number is None:
        show(held.delete_model(model), ("name", "deleted_at"))
    else:
        show(held.delete_version(model, number, remove_aliases=remove_aliases), ("model", "number", "deleted_at"))


@click.command("restore")
@click.argument("model")
@click.argument("number", required=False, type=int)
@verb
def restore(model: str, number: int | None) -> None:
    """Bring a deleted version back, or a deleted model with the versions that went with it.

    \b
    Example: rung model restore late-flights 3
    """
    held = client().registry
    if number is None:
        show(held.restore_model(model), ("name", "task", "versions", "aliases"))
    else:
        show(held.restore_version(model, number), _SHORT)


@click.command("download")
@click.argument("model")
@click.argument("number", required=False, type=int)
@click.option("--alias", help="The version this alias points at.")
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="New or empty folder to write into.")
@verb
def download(model: str, number: int | None, alias: str | None, folder: Path) -> None:
    """Write a version's files into a folder, those of the newest unless a number or an alias is given.

    \b
    Example: rung model download late-flights --alias champion --to champion/
    """
    held = client().registry
    version = held.version(model, number, alias=alias)
    written = held.save_files(model, version.number, folder)
    if state().json:
        show([str(path) for path in written])
    else:
        table(["file", "bytes"], [[str(path), path.stat().st_size] for path in written])


@click.command("example")
@click.argument("model")
@click.argument("number", required=False, type=int)
@click.option("--alias", help="The version this alias points at.")
@click.option("--to", "file", type=click.Path(dir_okay=False, path_type=Path), help="CSV or Parquet file to write instead of showing.")
@verb
def example(model: str, number: int | None, alias: str | None, file: Path | None) -> None:
    """Some rows a version was shown when it was made: what a request to it looks like.

    \b
    Example: rung model example late-flights --alias champion --to rows.csv
    """
    frame = client().registry.input_example(model, number, alias=alias)
    if file is not None:
        from rung.cli.predicting import write_rows  # noqa: PLC0415 - loads Polars

        write_rows(frame, file)
        note(f"{frame.height} rows are in {file}.")
    elif state().json:
        click.echo(frame.write_json())
    else:
        table(frame.columns, frame.head(20).rows())


COMMANDS = (
    register_logged, describe, tag, stage, approvals, approve, reject, revoke, rename, delete, restore, download, example,
)  # fmt: skip


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{text!r} has no key and value. Write KEY=VALUE.")
        found[key] = value
    return found


def _plain(text: str) -> str | int | bool:
    """A label value as it stands in data: a whole number and true or false are not texts."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 19 else text  # noqa: PLR2004 - as far as 64 bits reach


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise click.UsageError(f"{text!r} is no date. Write 2027-01-31, or 2027-01-31T12:00+00:00.") from None
