"""How the story is told on the terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


class Teller:
    """Tells stages, weeks and months; plain lines when nobody watches."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._told: set[str] = set()

    def stage(self, title: str) -> None:
        """A new chapter."""
        self.console.rule(f"[bold]{title}", align="left")

    def say(self, text: str) -> None:
        """A sentence."""
        self.console.print(f"  {text}", markup=False)

    def tick(self, week: str, rows: int) -> None:
        """A week is being served."""
        if self.console.is_terminal:
            self.console.print(f"  … week of {week}: {rows} flights", end="\r", markup=False)

    def month(self, found: dict[str, Any], client: Any, start: datetime, end: datetime) -> None:
        """A month is over: how the models did, and what the platform noticed and decided."""
        names = ", ".join(f"v{number}" for number in found["versions"])
        gain = found["auc_managed"] - found["auc_static"]
        self.say(
            f"{found['month']}  {found['rows']:6} flights   AUC first model {found['auc_static']:.3f}, served {found['auc_managed']:.3f} ({gain:+.3f}) by {names}"
        )
        for incident in reversed(client.monitoring.incidents()):
            if incident.id not in self._told and incident.diagnosis:
                self._told.add(incident.id)
                diagnosis = client.monitoring.diagnosis(incident.id)
                self.say(f"    incident {incident.number} ({incident.start:%d %b} to {incident.end:%d %b}): {diagnosis.summary}")
        for decision in reversed(client.value.decisions()):
            if decision.id not in self._told:
                self._told.add(decision.id)
                self.say(f"    decision {decision.number}: {decision.action} — {' '.join(decision.reasons)[:300]}")

    def table(self, title: str, columns: list[str], rows: list[list[Any]]) -> None:
        """A table."""
        drawn = Table(*columns, title=title, box=SIMPLE_HEAD, title_justify="left")
        for row in rows:
            drawn.add_row(*[str(value) for value in row])
        self.console.print(drawn)


def summary(teller: Teller, figures: dict[str, Any]) -> None:
    """The end of the story in a dozen lines."""
    teller.stage("Summary")
    months = figures["months"]
    better = sum(m["auc_managed"] - m["auc_static"] > 0.01 for m in months)
    worse = sum(m["auc_managed"] - m["auc_static"] < -0.01 for m in months)
    teller.say(
        f"{sum(m['rows'] for m in months)} flights in {len(months)} months; the managed model clearly better in {better}, clearly worse in {worse}."
    )
    teller.say(
        f"{len(figures['retrainings'])} retrainings; the planted fault was diagnosed as {figures['planted_fault'].get('cause')} and led to {figures['planted_fault'].get('action')!r}."
    )
    roi = figures["roi"]
    teller.say(f"Net value {roi.get('net')} {roi.get('currency')} after {roi.get('cost')} of cost.")
    teller.say(f"Reproduction of the deployed training: {figures['reproduction'].get('likeness')}.")
    teller.say(f"Maturity: {figures['maturity'].get('sentence')}")
    teller.say(f"It took {figures['timings']['total']:.0f} s. Look around: rung up")
