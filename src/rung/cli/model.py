"""``rung model``: models, versions, gates, aliases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rung.cli import model_engine, model_life
from rung.cli.frame import EXIT_NOT_MET, EXIT_USAGE, VersionsGroup, client, fail, note, show, state, table, verb

if TYPE_CHECKING:
    from rung.registry.records import Verdict

_NOT_LET_PASS = {
    "registry.gate_refused", "registry.no_verdict_yet", "registry.stale_verdict", "registry.not_approved", "registry.rejected",
}  # fmt: skip
_VERSION = ("number", "created_at", "created_by", "format", "size_bytes", "aliases", "run_id", "description")


@click.group("model", cls=VersionsGroup, short_help="Models, versions, gates, aliases.")
def command() -> None:
    """Models, versions, gates, aliases. A version is written MODEL NUMBER or MODEL:NUMBER."""


for _part in (*model_life.COMMANDS, model_engine.engine):
    command.add_command(_part)


@command.command("list")
@click.option("-w", "--where", default="", help="Filter, such as \"name LIKE 'late%' AND tags.team = 'blue'\".")
@click.option("--sort", multiple=True, help="Order, such as 'updated_at DESC'; repeatable.")
@click.option("--deleted", is_flag=True, help="Those that can be restored instead.")
@click.option("--limit", default=100, show_default=True, help="How many.")
@verb
def list_models(where: str, sort: tuple[str, ...], limit: int, *, deleted: bool) -> None:
    """Models of the project with their aliases.

    \b
    Example: rung model list --where "tags.team = 'blue'" --sort "updated_at DESC"
    """
    held = client().registry
    if deleted:
        show(held.models(deleted=True), ("name", "task", "deleted_at", "description"), empty="No model is deleted.")
        return
    show(
        held.search_models(where, order_by=sort, limit=limit) if where or sort else held.models(),
        ("name", "task", "versions", "newest", "aliases", "tags", "description"),
        empty="No model meets the filter." if where else "No models yet. `rung model register` makes one.",
    )


@command.command("show")
@click.argument("model")
@click.argument("number", required=False, type=int)
@click.option("--alias", help="The version this alias points at.")
@verb
def show_model(model: str, number: int | None, alias: str | None) -> None:
    """A version, the newest unless a number or an alias is given.

    \b
    Example: rung model show late-flights --alias champion
    """
    version = client().registry.version(model, number, alias=alias)
    if state().json:
        show(version)
        return
    hidden = {"id", "model", "number", "signature", "files", "flavors", "status", "engine"}
    told = [name for name in version.__struct_fields__ if name not in hidden and getattr(version, name) not in (None, "", (), {}, False)]
    show(version, told, title=f"{version.model}:{version.number}")
    if version.engine is not None:
        note(f"served by {model_engine.told(version.engine)}")
    for title, fields in (("inputs", version.signature.inputs), ("outputs", version.signature.outputs)):
        if fields:
            show(fields, title=title)


@command.command("versions")
@click.argument("model")
@click.option("--limit", default=30, show_default=True, help="How many, newest first.")
@click.option("--before", type=int, help="Only versions before this number.")
@click.option("--deleted", is_flag=True, help="Those that were deleted instead.")
@verb
def versions(model: str, limit: int, before: int | None, *, deleted: bool) -> None:
    """Versions of a model, newest first.

    \b
    Example: rung model versions late-flights
    """
    show(client().registry.versions(model, limit=limit, before=before, deleted=deleted), _VERSION, empty="No version.")


@command.command("search")
@click.argument("where", default="")
@click.option("--sort", multiple=True, help="Order, such as 'created_at DESC'; repeatable.")
@click.option("--limit", default=30, show_default=True, help="How many.")
@click.option("--after", help="What the page before answered as next.")
@verb
def search(where: str, sort: tuple[str, ...], limit: int, after: str | None) -> None:
    """Versions of any model that a filter finds: by model, number, run, stage, task, format, label, created_by … and tags.

    \b
    Example: rung model search "stage = 'production' OR tags.kind = 'candidate'" --sort "created_at DESC"
    """
    found = client().registry.search_versions(where, order_by=sort, limit=limit, after=after)
    show(found, ("model", *_VERSION, "stage", "tags"), empty="No version meets the filter.")
    if found.next:
        note(f"More with --after {found.next}")


@command.command("register")
@click.argument("model")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--example", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Parquet or CSV with input rows."
)
@click.option("--label", required=True, help="Column that holds the truth.")
@click.option("--threshold", type=float, help="Score from which a binary model says yes.")
@click.option("--train", help="Dataset version it was trained on, NAME:NUMBER.")
@click.option("--test", help="Dataset version it shall be judged on, NAME:NUMBER.")
@click.option("--description", default="", help="What it is.")
@verb
def register(
    model: str, file: Path, example: Path, label: str, threshold: float | None, train: str | None, test: str | None, description: str
) -> None:
    """Register a skops file of a scikit-learn model as the next version. Pickles are refused.

    \b
    Example: rung model register late-flights model.skops --example rows.parquet --label late --test flights:2
    """
    datasets = [(role, *_reference(text)) for role, text in (("train", train), ("test", test)) if text]
    version = client().registry.register(
        model, file, example=example, label=label, threshold=threshold, datasets=datasets, description=description
    )
    show(version, ("model", "number", "digest", "format", "size_bytes", "task"))


@command.command("evaluate")
@click.argument("model")
@click.argument("number", type=int)
@click.argument("dataset")
@click.option("--slice", "slices", multiple=True, help="Column to cut by; COLUMN/4 for four quantile bands; repeatable.")
@verb
def evaluate(model: str, number: int, dataset: str, slices: tuple[str, ...]) -> None:
    """Score a version on a dataset, NAME or NAME:NUMBER, whole and by slice.

    \b
    Example: rung model evaluate late-flights 3 flights:4 --slice origin --slice distance/4
    """
    name, which = _reference(dataset)
    note(f"Scoring {model}:{number} on {dataset} …")
    made = client().registry.evaluate(model, number, name, which, slices=slices or None)
    if state().json:
        show(made)
        return
    names = sorted(made.scores)
    rows = [["all rows", made.rows, *[made.scores[name] for name in names]]]
    rows += [[item.slice, item.rows, *[item.scores.get(name) for name in names]] for item in made.slices]
    table(["slice", "rows", *names], rows, title=f"{model}:{number} on {made.dataset}:{made.dataset_number}")


@command.command("gate")
@click.argument("model")
@click.argument("number", type=int)
@click.option("--dataset", help="Dataset to judge on, NAME or NAME:NUMBER; default that of the rules or the version's test data.")
@verb
def gate(model: str, number: int, dataset: str | None) -> None:
    """Put a version before its model's gates; exit code 3 when they refuse it.

    \b
    Example: rung model gate late-flights 3 --dataset flights:4
    """
    name, which = _reference(dataset) if dataset else (None, None)
    verdict = client().registry.check_gate(model, number, dataset=name, dataset_number=which)
    if state().json:
        show(verdict)
    else:
        _show_verdict(verdict)
    if not verdict.passed:
        fail(f"{model}:{number} is refused.", code=EXIT_NOT_MET, hint="Mend the model, or see `rung model promote --help` for overrides.")


@command.command("rules")
@click.argument("model")
@click.option(
    "--set", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON file with rules, slices and dataset."
)
@verb
def rules(model: str, file: Path | None) -> None:
    """The gate rules of a model; with --set, put others in their place.

    \b
    Example: rung model rules late-flights --set gates.json
    where gates.json holds {"rules": [{"gate": "threshold", "metric": "roc_auc", "at_least": 0.65}], "slices": ["origin"]}
    """
    held = client().registry
    if file is not None:
        plain = _read_rules(file)
        held.set_gate_rules(model, plain.get("rules", []), slices=plain.get("slices", []), dataset=plain.get("dataset"))
    found = held.gate_rules(model)
    if state().json:
        show(found)
        return
    table(["gate", "params", "blocking"], [[rule.gate, rule.params, rule.blocking] for rule in found.rules])
    note("Defaults." if found.set_at is None else f"Set by {found.set_by}.")


@command.command("promote")
@click.argument("model")
@click.argument("number", type=int)
@click.option("--alias", default="champion", show_default=True, help="Alias to move.")
@click.option("--reason", default="", help="Why.")
@click.option("--override", metavar="REASON", help="Move it past the gates, for a reason that is kept; needs model:override.")
@verb
def promote(model: str, number: int, alias: str, reason: str, override: str | None) -> None:
    """Move an alias to a version that passed its gates; exit code 3 when they, or those who approve, did not let it pass.

    \b
    Example: rung model promote late-flights 3
    """
    from rung.core.errors import Conflict  # noqa: PLC0415 - see rules

    try:
        moved = client().registry.promote(model, number, alias=alias, reason=reason, override_reason=override)
    except Conflict as error:
        if error.code not in _NOT_LET_PASS:
            raise
        fail(error.message, hint=error.hint, code=EXIT_NOT_MET)
    show(moved, ("model", "alias", "previous", "number", "by", "verdict", "override_reason"))


@command.command("alias")
@click.argument("model")
@click.argument("alias", required=False)
@click.argument("number", required=False, type=int)
@click.option("--remove", is_flag=True, help="Take the alias away.")
@click.option("--history", is_flag=True, help="Show which version held it when.")
@verb
def alias_command(model: str, alias: str | None, number: int | None, *, remove: bool, history: bool) -> None:
    """Show a model's aliases, point a free one at a version, or remove it. The champion moves by promotion only.

    \b
    Example: rung model alias late-flights candidate 4
    """
    held = client().registry
    if history:
        show(held.alias_moves(model, alias), ("at", "alias", "previous", "number", "by", "reason", "override_reason"))
    elif alias and remove:
        held.remove_alias(model, alias)
        note(f"{alias} is gone.")
    elif alias and number is not None:
        show(held.set_alias(model, alias, number), ("model", "alias", "previous", "number", "by"))
    else:
        found = held.model(model)
        if state().json:
            show(found.aliases)
        else:
            table(["alias", "version"], [[name, which] for name, which in found.aliases.items() if alias in {None, name}])


@command.command("card")
@click.argument("model")
@click.argument("number", required=False, type=int)
@verb
def card(model: str, number: int | None) -> None:
    """A version's card in Markdown, told from its records; what is missing is named.

    \b
    Example: rung model card late-flights 3 > card.md
    """
    found = client().registry.card(model, number)
    show(found) if state().json else click.echo(found.markdown)


def _reference(text: str) -> tuple[str, Any]:
    name, colon, number = text.rpartition(":")
    if colon and not number.isdecimal():
        raise click.UsageError(f"{text!r} is no dataset version. Write NAME:NUMBER.")
    return (name, int(number)) if colon else (text, None)


def _read_rules(file: Path) -> dict[str, Any]:
    try:
        plain = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        fail(f"{file} is no JSON: {error}.", hint="See `rung model rules --help`.", code=EXIT_USAGE)
    if not isinstance(plain, dict) or not isinstance(plain.get("rules"), list) or set(plain) - {"rules", "slices", "dataset"}:
        fail(f"{file} does not hold rules.", hint='Write {"rules": [...], "slices": [...], "dataset": "..."}.', code=EXIT_USAGE)
    return plain


def _show_verdict(verdict: Verdict) -> None:
    click.secho("passed" if verdict.passed else "refused", fg="green" if verdict.passed else "red", bold=True)
    for reason in verdict.reasons:
        click.echo(f"  {reason}")
    for result in verdict.gates:
        if not result.passed and not result.blocking:
            click.echo(f"  (does not block) {result.gate}: {result.reason}")
