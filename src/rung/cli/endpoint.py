"""``rung endpoint``: what is deployed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from rung.cli.frame import EXIT_USAGE, client, fail, note, show, state, table, verb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rung.serving.configuring_records import RevisionDiff
    from rung.serving.records import Revision, Route


def value_of(text: str) -> Any:
    """A value as it is written: a number, true, a list in JSON, else the text; nothing for a default."""
    if text == "":
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def routes_said(routes: Iterable[Route]) -> str:
    """Routes in a cell: version, arm and share."""
    return ", ".join(f"{x.model}:{x.number} {x.arm}" + ("" if x.arm == "shadow" else f" {x.share:.0%}") for x in routes) or "nothing"


def show_revision(revision: Revision) -> None:
    """What a change made of a deployment."""
    if state().json:
        show(revision)
        return
    said = {
        "deployment": revision.deployment,
        "revision": str(revision.number),
        "routes": routes_said(revision.routes),
        "change": revision.change,
        "why": revision.override_reason or revision.reason,
        "by": revision.created_by,
        "took": f"{revision.duration_ms:.1f} ms",
    }
    for name, value in said.items():
        if value:
            click.echo(f"{name:<10}  {value}")


def show_changes(found: RevisionDiff) -> None:
    """What differs, a line a field."""
    if state().json:
        show(found)
        return
    for words in found.notes:
        note(words)
    if not found.changes:
        note("Nothing would change." if found.after is None else "Nothing differs.")
        return
    rows = [
        (x.path, "" if x.before is None else json.dumps(x.before), "" if x.after is None else json.dumps(x.after)) for x in found.changes
    ]
    table(("field", "before", "after"), rows)


@click.group("endpoint", short_help="What is deployed, its revisions and traffic.")
def command() -> None:
    """What is deployed, its revisions and traffic."""


@command.command("list")
@verb
def list_deployments() -> None:
    """Deployments of the project.

    \b
    Example: rung endpoint list
    """
    held = client().serving.list()
    if state().json or not held:
        show(held, empty="Nothing is deployed: rung deploy MODEL --name NAME")
        return
    rows = [(x.name, x.environment, x.revision, routes_said(x.routes), x.changed_at) for x in held]
    table(("name", "environment", "revision", "routes", "changed_at"), rows)


@command.command("show")
@click.argument("name")
@verb
def show_deployment(name: str) -> None:
    """A deployment with its revisions, the change under way and the rows it served.

    \b
    Example: rung endpoint show churn
    """
    verbs = client().serving
    held, revisions, served = verbs.get(name), verbs.revisions(name), verbs.served(name)
    growing = next(iter(verbs.rollouts(name, active=True)), None)
    tested = next(iter(verbs.ab_tests(name, active=True)), None)
    compared = verbs.shadow_comparisons(name)
    if state().json:
        show({"deployment": held, "revisions": revisions, "served": served, "rollout": growing, "ab": tested, "shadows": compared})
        return
    show(held, ("name", "environment", "revision"))
    click.echo(f"routes       {routes_said(held.routes)}")
    if growing is not None:
        note(f"{growing.model}:{growing.number} is {growing.state} at {growing.share:.0%}: rung rollout status {name}")
    if tested is not None:
        note(f"An A/B test is running: rung ab show {name}")
    if compared:
        note(f"Shadow {compared[0].model}:{compared[0].number}: {compared[0].conclusion} rung endpoint shadow {name}")
    table(
        ("revision", "change", "routes", "by", "at", "took ms", "why"),
        [
            (x.number, x.change, routes_said(x.routes), x.created_by, x.created_at, f"{x.duration_ms:.0f}", x.override_reason or x.reason)
            for x in revisions
        ],
        title="Revisions",
    )
    table(("version", "arm", "day", "rows", "errors"), [(x.number, x.arm, x.day, x.rows, x.errors) for x in served], title="Served")


@command.command("options")
@click.argument("name", required=False)
@verb
def options(name: str | None) -> None:
    """Every option with its default and what it is; with a name, with the value in force.

    \b
    Example: rung endpoint options churn
    """
    from rung.serving.option_rules import described, option_at  # noqa: PLC0415 - the CLI starts without it

    held = client().serving.get(name).options if name else None
    rows = [(path, default, "" if held is None else option_at(held, path), words) for path, default, words in described()]
    if state().json:
        show([{"option": p, "default": d, **({"value": v} if name else {}), "description": w} for p, d, v, w in rows])
        return
    columns = ("option", "default", *(("value",) if name else ()), "what it is")
    table(columns, [(p, d, *((v,) if name else ()), w) for p, d, v, w in rows])


@command.command("set")
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="OPTION=VALUE...")
@click.option("--file", "path", type=click.Path(exists=True, dir_okay=False), help="TOML file with all options; single ones follow it.")
@click.option("--reason", default="", help="Why; kept with the revision.")
@click.option("--plan", is_flag=True, help="Show what would change, and change nothing.")
@verb
def set_options(name: str, settings: tuple[str, ...], path: str | None, reason: str, plan: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Change how a deployment answers; an empty value puts a default back.

    \b
    Example: rung endpoint set churn limits.requests_per_s=100 logging.share=0.1
    Example: rung endpoint set churn --file churn.toml --plan
    """
    changes: dict[str, object] = {}
    for setting in settings:
        option, equals, text = setting.partition("=")
        if not equals:
            fail(f"{setting!r} sets nothing.", hint="Write OPTION=VALUE, such as limits.requests_per_s=100.", code=EXIT_USAGE)
        changes[option] = value_of(text)
    if not changes and path is None:
        fail("There is nothing to set.", hint="Write OPTION=VALUE, or --file FILE.", code=EXIT_USAGE)
    verbs = client().serving
    if plan:
        from rung.client.releases import options_from  # noqa: PLC0415 - the CLI starts without it

        fields = {"options": options_from(path)} if path else {}
        show_changes(verbs.plan("configure", name, set=changes, **fields))
        return
    revision = verbs.configure(name, changes, options=path, reason=reason)
    show_revision(revision)
    if not state().json:
        show_changes(verbs.diff(name, revision.number - 1, revision.number))


@command.command("diff")
@click.argument("name")
@click.argument("before", type=int)
@click.argument("after", type=int, required=False)
@verb
def diff(name: str, before: int, after: int | None) -> None:
    """What differs between two revisions, versions, shares and options; without AFTER, the one in force.

    \b
    Example: rung endpoint diff churn 3 5
    """
    show_changes(client().serving.diff(name, before, after))


@command.command("shadow")
@click.argument("name")
@click.option("--threshold", type=float, help="Where answers part into yes and no; default the version's own.")
@click.option("--all", "every", is_flag=True, help="The comparisons kept of all shadows there were.")
@verb
def shadow(name: str, threshold: float | None, every: bool) -> None:  # noqa: FBT001 - click passes options by name
    """What a shadow would have answered, beside what was answered: agreement, differences, errors, time.

    Without a shadow, what was kept of the last one.

    \b
    Example: rung endpoint shadow churn
    Example: rung endpoint shadow churn --all
    """
    if every:
        columns = (
            "model",
            "number",
            "beside_number",
            "pairs",
            "agreement",
            "errors",
            "first_event",
            "last_event",
            "ended_at",
            "conclusion",
        )
        show(client().serving.shadow_comparisons(name), columns, empty="No shadow was compared yet.")
        return
    found = client().serving.compare_shadow(name, threshold=threshold)
    if state().json:
        show(found)
        return
    ended = "" if found.ended_at is None else f"{found.model}:{found.number} is a shadow no more. "
    note(f"{ended}{found.conclusion}")
    show(
        found, ("pairs", "agreement", "agreement_low", "agreement_high", "mean_difference", "largest", "correlation", "errors", "slowdown")
    )
    rows = [(x.id, f"{x.answered:.4g}", f"{x.shadow:.4g}", x.event_time) for x in found.worst]
    table(("prediction", "answered", "shadow", "at"), rows, title="Largest differences")


@command.command("reload")
@click.argument("name")
@click.option("--reason", default="", help="Why; kept with the revision.")
@verb
def reload(name: str, reason: str) -> None:
    """Load what a deployment serves anew, by the engines that its versions have now; no request fails meanwhile.

    \b
    Example: rung endpoint reload churn
    """
    show_revision(client().serving.reload(name, reason=reason))


@command.command("stop")
@click.argument("name")
@click.option("--reason", default="", help="Why; kept with the revision.")
@verb
def stop(name: str, reason: str) -> None:
    """Stop answering under a name; its log and revisions stay.

    \b
    Example: rung endpoint stop churn --reason "product withdrawn"
    """
    show_revision(client().serving.undeploy(name, reason=reason))
