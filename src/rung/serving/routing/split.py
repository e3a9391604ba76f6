"""Shares as the revision says."""

from __future__ import annotations

from collections.abc import Mapping

from rung.core.records import Record
from rung.serving.records import ArmRewards
from rung.serving.routing.family import ROUTING, Policy


class SplitSettings(Record):
    """A split has no settings: its shares are those of the routes."""


def shares(wished: Mapping[str, float], settings: SplitSettings, rewards: Mapping[str, ArmRewards]) -> dict[str, float]:
    """The shares wished."""
    return dict(wished)


ROUTING.add("split", Policy(SplitSettings, shares))
