"""Called by a push of code: told by a forge's webhook, or seen in a repository on this machine."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta

from rung.core.records import Line, Record
from rung.pipelines.trigger_family import TRIGGERS, Example, Past, TriggerMember, met, not_met
from rung.pipelines.triggering import TriggerCheck

NO_COMMIT = "0" * 40


class Options(Record):
    """The ``branch`` that counts (a name or a pattern), and patterns of ``paths`` of which one must have changed.

    ``folder`` is a repository on the engine's machine that is looked at every ``every_s`` seconds, relative to the
    project's folder; without one the trigger waits for its forge's webhook.
    """

    branch: Line = "main"
    paths: tuple[Line, ...] = ()
    folder: Line = ""
    every_s: Annotated[float, Meta(ge=1, le=86_400)] = 60.0


class Facts(Record):
    """What moved a branch: from which commit to which, and the paths that changed; ``complete`` when all of them are known."""

    repository: Line
    branch: Line
    before: Line
    after: Line
    commit: Line = ""
    paths: Annotated[tuple[Line, ...], Meta(max_length=20_000)] = ()
    complete: bool = True
    pusher: Line = ""
    title: Line = ""
    first_look: bool = False


@TRIGGERS.member("push")
class Push(TriggerMember[Options, Facts]):
    """Started by new commits on a branch, told by GitHub, GitLab and their like, or seen in a local repository."""

    word = "push"
    about = "repository"
    over_http = True
    options = Options
    facts = Facts
    by_name = ("commit", "branch")
    example = Example(
        options={"paths": ["src/*"]},
        met={"repository": "flights", "branch": "main", "before": "a" * 40, "after": "b" * 40, "paths": ["src/train.py"]},
        unmet={"repository": "flights", "branch": "main", "before": "a" * 40, "after": "b" * 40, "paths": ["README.md"]},
    )

    @classmethod
    def condition(cls, options: Options, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Met by new commits on the branch that touch a path that counts."""
        told = f"{facts.repository} {facts.branch}"
        if facts.first_look:
            return not_met(f"First look: {told} is at {facts.after[:12]}; what comes after it counts.")
        if not fnmatchcase(facts.branch, options.branch):
            return not_met(f"The push went to {facts.branch}; {options.branch} is what counts.")
        if facts.after == NO_COMMIT:
            return not_met(f"{told} was deleted.")
        if options.paths and facts.complete:
            touched = [path for path in facts.paths if any(fnmatchcase(path, pattern) for pattern in options.paths)]
            if not touched:
                return not_met(f"{told} went to {facts.after[:12]}, but none of {', '.join(options.paths)} changed.")
            return met(f"{told} went to {facts.after[:12]} and changed {', '.join(touched[:3])}.", value=float(len(touched)))
        return met(f"{told} went to {facts.after[:12]}.")
