"""``rung incident``: troubles of deployments, their causes and their end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from rung.cli.frame import client, show, state, table, verb

_TIMES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])


@click.group("incident", short_help="Troubles of deployments, their causes and their end.")
def command() -> None:
    """Troubles of deployments, their causes and their end."""


@command.command("list")
@click.option("--deployment", default=None, help="Only of this deployment.")
@click.option("--status", type=click.Choice(["open", "diagnosed", "decided", "closed"]), default=None)
@verb
def list_incidents(deployment: str | None, status: Any) -> None:
    """Incidents, newest first.

    \b
    Example: rung incident list --status diagnosed
    """
    columns = ("number", "deployment", "rule", "status", "cause", "start", "end", "alerts", "title")
    show(client().monitoring.incidents(deployment, status), columns, empty="No incident.")


@command.command("show")
@click.argument("incident")
@verb
def show_incident(incident: str) -> None:
    """An incident with its newest diagnosis.

    \b
    Example: rung incident show 3
    """
    found = client().monitoring.incident(incident)
    show(found)
    if found.diagnosis and not state().json:
        click.echo()
        _tell(client().monitoring.diagnosis(found.diagnosis))


@command.command("diagnose")
@click.argument("incident")
@click.option("--as-of", type=_TIMES, default=None, help="Use what was known at this instant (UTC); default now.")
@verb
def diagnose(incident: str, as_of: datetime | None) -> None:
    """Find the cause: ranked findings with their evidence.

    \b
    Example: rung incident diagnose 3
    """
    _tell(client().monitoring.diagnose(incident, as_of and as_of.replace(tzinfo=UTC)))


@command.command("note")
@click.argument("incident")
@click.argument("text")
@verb
def note(incident: str, text: str) -> None:
    """Write a note to an incident.

    \b
    Example: rung incident note 3 "the weather provider was told"
    """
    show(client().monitoring.note(incident, text))


@command.command("close")
@click.argument("incident")
@click.option("--resolution", required=True, help="How it ended.")
@verb
def close(incident: str, resolution: str) -> None:
    """Close an incident.

    \b
    Example: rung incident close 3 --resolution "temperature delivered again in °F"
    """
    show(client().monitoring.close(incident, resolution))


def _tell(diagnosis: Any) -> None:
    if state().json:
        show(diagnosis)
        return
    click.secho(f"{diagnosis.cause}: {diagnosis.summary}", bold=True)
    click.echo(f"Retraining {'would' if diagnosis.curable else 'would not'} help. {diagnosis.findings[0].remedy}")
    rows = [
        (finding.cause, finding.strength, fact.statement, fact.value, fact.line) for finding in diagnosis.findings for fact in finding.facts
    ]
    table(("cause", "strength", "evidence", "value", "line"), rows, title="Evidence, by rank")
    loss = diagnosis.loss
    if loss and loss.loss is not None:
        click.echo(
            f"Loss: {loss.loss:.3f} points of {loss.metric} ({loss.loss_low:.3f} to {loss.loss_high:.3f}) on {loss.labelled} labelled rows."
        )
    gain = diagnosis.gain
    if gain:
        click.echo(
            f"What recent labels could add: AUC {gain.auc_served:.3f} -> {gain.auc_corrected:.3f}, log loss {gain.gain:.4f} less per row ({gain.low:.4f} to {gain.high:.4f}), on days held out."
        )
