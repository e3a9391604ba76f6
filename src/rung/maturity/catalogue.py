"""The criteria as the package defines them: rows, gate lists, test score, and which commands exist in this release."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from rung.core.records import Record
from rung.maturity.records import Criterion, Scale

TITLES: dict[Scale, str] = {"google": "Google 0-2", "microsoft": "Microsoft 0-4", "five": "Five levels 1-5"}


class ScaleRule(Record):
    """One scale: where it starts, the names of its levels, and the gates of each."""

    base: int
    names: dict[str, str]
    gates: dict[str, tuple[str, ...]]

    @property
    def top(self) -> int:
        """The highest level."""
        return max(int(level) for level in self.gates)


class Catalogue(Record):
    """Everything the engine reads from package data."""

    criteria: tuple[Criterion, ...]
    planned: dict[str, str]
    scales: dict[Scale, ScaleRule]
    always: tuple[str, ...]
    test_score: dict[str, str]
    people: tuple[str, ...]
    people_share: float
    weights: dict[str, float]
    commands: dict[str, str]


@cache
def catalogue() -> Catalogue:
    """The catalogue, read once."""
    plain = _read("criteria.json")
    return Catalogue(
        criteria=tuple(_criterion(row) for row in plain["criteria"]),
        planned={row["id"]: row["next"] for row in plain["criteria"]},
        scales={name: _scale(rule) for name, rule in plain["scales"].items()},
        always=tuple(plain["always"]["ids"]),
        test_score=plain["ml_test_score"]["deciding_row"],
        people=tuple(plain["people_attestation_cap"]["rows"]),
        people_share=plain["people_attestation_cap"]["share"],
        weights={kind: plain["kind_weights"][kind] for kind in ("auto", "mixed", "attest")},
        commands=_read("commands.json"),
    )


def _read(name: str) -> Any:
    return msgspec.json.decode((files("rung.maturity") / name).read_bytes())


def _criterion(row: dict[str, Any]) -> Criterion:
    due = {name: None if row[key] in {"-", None} else int(row[key]) for name, key in (("google", "G"), ("microsoft", "M"), ("five", "N"))}
    maps = row["maps"].split() if isinstance(row["maps"], str) else row["maps"]
    return Criterion(
        id=row["id"], dimension=row["dim"], text=row["text"], kind=row["kind"], evidence=row["evidence"], maps=tuple(maps), **due
    )


def _scale(rule: dict[str, Any]) -> ScaleRule:
    return ScaleRule(base=rule["base"], names=rule["names"], gates={level: tuple(ids) for level, ids in rule["gates"].items()})
