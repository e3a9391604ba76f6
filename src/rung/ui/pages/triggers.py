"""Triggers: what starts pipelines by itself, and every call upon them with its answer and the reasons for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from markupsafe import Markup, escape

from rung.core.errors import NotFound
from rung.pipelines.triggering import (
    FireOutcome,
    GetTrigger,
    Guards,
    ListTriggerFires,
    ListTriggers,
    NextFires,
    Trigger,
    TriggerCheck,
    TriggerFire,
)
from rung.ui import words
from rung.ui.blocks import Empty, Facts, Page, Part, Table, Visit, Words
from rung.ui.pages.pipelines import tabs
from rung.ui.words import MISSING, address, joined, link, pill, when

_SHOWN = 50
_COMING = 5
OUTCOME = {"fired": "ok", "held_back": "warn", "not_met": "muted", "waiting": "warn", "dry": "accent"}
_COLUMNS = ("when", "trigger", "outcome", "why", "what was looked at", "run")


def triggers(visit: Visit) -> Page:
    """What will run by itself, and what did."""
    held = visit.ask(ListTriggers())
    fires = visit.find(_asked(visit, None)) or ()
    if not held and not fires:
        blank = Empty(
            "A trigger starts a pipeline at a time, on new data, on an alert or on a decision.",
            "rung trigger add nightly train --cron '0 3 * * *'",
        )
        return Page("Triggers", "Nothing runs by itself yet.", [tabs("/triggers"), blank], "rung trigger list", {"triggers": ()})
    may = visit.may("trigger:write")
    rows = [
        (
            link(t.name, "triggers", t.name), link(t.pipeline, "pipelines", t.pipeline), t.kind.replace("_", " "), _on(t),
            pill("paused" if t.paused else "live"), when(t.next_fire), when(t.last_fired_at),
        )
        for t in held
    ]  # fmt: skip
    paused = sum(t.paused for t in held)
    waiting = [fire for fire in fires if fire.outcome == "waiting"]
    blocks: list[object] = [tabs("/triggers")]
    if may and held:
        every = {"action": "/act/pause-triggers", "hidden": {"paused": "no" if paused == len(held) else "yes"}, "fields": (), "quiet": True}
        blocks.append(Part("acts.html", {"forms": [every | {"label": "Resume all" if paused == len(held) else "Pause all"}], "links": ()}))
    blocks.append(Table(("trigger", "pipeline", "kind", "on", "state", "next", "last"), rows))
    blocks += _history(visit, fires, "/triggers", "What they did", settle=visit.may("trigger:override"))
    head = f"{words.many(len(held), 'trigger')} can start a pipeline; {paused} paused" + (
        f", {words.many(len(waiting), 'call')} waiting." if waiting else "."
    )
    return Page("Triggers", head, blocks, "rung trigger list", {"triggers": held, "fires": fires}, live=True, refresh_s=15)


def trigger(visit: Visit) -> Page:
    """One trigger with its guard rails and its history. Raises NotFound, but for one whose record outlasts it."""
    name = visit.path["trigger"]
    held = visit.find(GetTrigger(name=name))
    base = address("triggers", name)
    fires = visit.find(_asked(visit, name)) or ()
    if held is None:
        if not fires:
            visit.ask(GetTrigger(name=name))  # says which there are
        blocks = [tabs(""), *_history(visit, fires, base, "What it did", settle=False)]
        return Page("Trigger", f"{name} was removed; what it did is kept.", blocks, "rung trigger list", {"fires": fires})
    coming = visit.find(NextFires(name=name, count=_COMING))
    blocks = [tabs(""), *_acts(visit, held)]
    blocks.append(Facts(_facts(held), wide=True))
    blocks += [Words(joined(held.warnings, "; "), "Warnings")] if held.warnings else []
    guards = _guards(held.guards)
    blocks.append(
        Table(
            ("guard rail", "is"),
            guards,
            "What holds it back",
            "" if guards else "Nothing: it starts its pipeline whenever its cause is given.",
        )
    )
    if coming and coming.items:
        rows = [(when(item.fire_time), item.local_time.replace("T", " ", 1), when(item.due_at)) for item in coming.items]
        blocks.append(Table(("at, UTC", "there", "called, UTC"), rows, "The next times"))
    blocks += _history(visit, fires, base, "What it did", settle=visit.may("trigger:override"))
    last = f"its last call {fires[0].outcome.replace('_', ' ')}" if fires else "it was never called"
    state = "is paused" if held.paused else f"starts {held.pipeline}"
    return Page(
        "Trigger",
        f"{name} {state}; {last}.",
        blocks,
        f"rung trigger show {name}",
        {"trigger": held, "fires": fires},
        live=True,
        refresh_s=15,
    )


def _asked(visit: Visit, name: str | None) -> ListTriggerFires:
    outcome = visit.query.get("outcome") or None
    if outcome not in {None, *get_args(FireOutcome)}:
        raise NotFound(f"Calls never end as {outcome!r}.", code="ui.no_page", hint=f"They are {', '.join(get_args(FireOutcome))}.")
    after = visit.query.get("after", "")
    known = after if len(after) == 32 and after.isalnum() else None  # noqa: PLR2004 - an id
    return ListTriggerFires(name=name, outcome=cast("FireOutcome | None", outcome), after=known, limit=_SHOWN)


def _history(visit: Visit, fires: Sequence[TriggerFire], base: str, title: str, *, settle: bool) -> list[object]:
    chosen = visit.query.get("outcome", "")
    states = [
        (f"{base}?{words.query(outcome=one)}" if one else base, one.replace("_", " ") or "all", one == chosen)
        for one in ("", *get_args(FireOutcome))
    ]
    rows = [_fire(fire) for fire in fires]
    note: object = "" if rows else "Nothing so far."
    if len(fires) == _SHOWN:
        note = Markup('<a href="{}?{}" rel="next">Older calls</a>').format(base, words.query(outcome=chosen, after=fires[-1].id))
    waiting = [fire for fire in fires if fire.outcome == "waiting"][:20] if settle else []
    return [
        Words("", title), Part("tabs.html", {"label": "By outcome", "tabs": states}), Table(_COLUMNS, rows, note=note),
        *(Part("acts.html", {"forms": _settling(fire), "links": ()}) for fire in waiting),
    ]  # fmt: skip


def _settling(fire: TriggerFire) -> list[dict[str, Any]]:
    name = f"the call of {fire.trigger_name} at {fire.at:%Y-%m-%d %H:%M}"
    made = []
    for approve, label in (("yes", f"Approve {name}"), ("no", f"Refuse {name}")):
        made.append(
            {
                "action": "/act/settle-fire",
                "label": label,
                "hidden": {"id": fire.id, "approve": approve},
                "fields": [("note", "Note", "")],
                "quiet": True,
            }
        )
    return made


def _fire(fire: TriggerFire) -> tuple[object, ...]:
    run = link("run", "pipeline-runs", fire.pipeline_run) if fire.pipeline_run else MISSING
    told = (
        fire.reason
        + (f" It would have: {fire.would}" if fire.would else "")
        + (f" Again at {fire.due_at:%Y-%m-%d %H:%M}." if fire.due_at else "")
    )
    by = Markup('<div class="muted small">called by {}</div>').format(fire.called_by) if fire.called_by else Markup("")
    return (
        when(fire.at), link(fire.trigger_name, "triggers", fire.trigger_name), pill(fire.outcome, OUTCOME[fire.outcome]), Markup("{}").format(told) + by,
        _checks(fire.checks), run,
    )  # fmt: skip


def _checks(checks: Sequence[TriggerCheck]) -> Markup:
    if not checks:
        return escape(MISSING)
    lines = [
        Markup('<li><span class="pill {}"><span aria-hidden="true">{}</span> {}</span> {}</li>').format(
            "ok" if check.passed else "bad", "✓" if check.passed else "✕", check.guard.replace("_", " "), check.statement
        )
        for check in checks
    ]
    failed = sum(not check.passed for check in checks)
    said = f"{len(checks)} passed" if not failed else f"{failed} of {len(checks)} did not pass"
    return Markup('<details><summary>{}</summary><ul class="checks">{}</ul></details>').format(said, Markup("").join(lines))


def _on(held: Trigger) -> str:
    options = ", ".join(f"{name} {_plain(value)}" for name, value in list(held.options.items())[:4])
    return ", ".join(part for part in ("" if held.subject == "*" else held.subject, options) if part)[:300] or "any"


def _plain(value: object) -> str:
    return words.plain(value) if not isinstance(value, list | tuple) else ", ".join(map(words.plain, value))


def _facts(held: Trigger) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        ("state", pill("paused" if held.paused else "live")), ("pipeline", link(held.pipeline, "pipelines", held.pipeline)), ("kind", held.kind.replace("_", " ")),
        ("listens to", held.subject if held.subject != "*" else "any"), *((name.replace("_", " "), _plain(value)) for name, value in held.options.items()),
        ("next", when(held.next_fire)), ("last started a run", when(held.last_fired_at)),
        ("parameters", ", ".join(f"{name}={words.plain(value)}" for name, value in held.params.items())),
        ("taken from the cause", ", ".join(f"{name} from {fact}" for name, fact in held.take.items())),
        ("priority", held.priority or ""), ("executor", held.executor), ("environment", held.environment),
        ("package", link(held.package.removeprefix("blake3:")[:12], "packages", held.package) if held.package else ""),
        ("address for calls", words.code(f"POST /hooks/{held.hook}") if held.hook else ""), ("declared in", held.source or "added by hand"),
        ("made", joined([when(held.created_at), "by", held.created_by])), ("changed", when(held.updated_at) if held.updated_at else ""),
    ]  # fmt: skip
    return [(name, value) for name, value in facts if value != ""]


def _guards(held: Guards) -> list[tuple[str, str]]:
    plain = Guards()
    told: Mapping[str, str] = {
        "cooldown_s": "seconds between two starts", "most": "most starts", "most_period": "in a", "budget": "budget", "budget_period": "of a",
        "budget_model": "with the costs of", "min_labelled": "least share of labels", "min_labels": "fewest labels", "min_label_age_s": "labels at least this many seconds old",
        "label_days": "labels of the last days", "label_deployment": "labels of", "quiet": "quiet hours", "zone": "in time zone", "concurrency": "while one is under way",
        "approval": "somebody must approve", "dry": "dry: nothing is started", "patience_s": "a cause that is held back waits, in seconds",
    }  # fmt: skip
    return [
        (told.get(name, name.replace("_", " ")), _plain(getattr(held, name)))
        for name in Guards.__struct_fields__
        if getattr(held, name) != getattr(plain, name)
    ]


def _acts(visit: Visit, held: Trigger) -> list[object]:
    forms: list[dict[str, Any]] = []
    if visit.may("pipeline:run"):
        forms.append({"action": "/act/fire-trigger", "label": "Fire now", "hidden": {"name": held.name}, "fields": (), "quiet": False})
        forms.append(
            {"action": "/act/fire-trigger", "label": "Fire dry", "hidden": {"name": held.name, "dry": "1"}, "fields": (), "quiet": True}
        )
    if visit.may("trigger:write"):
        hidden = {"name": held.name, "paused": "no" if held.paused else "yes"}
        forms.append(
            {"action": "/act/pause-triggers", "label": "Resume" if held.paused else "Pause", "hidden": hidden, "fields": (), "quiet": True}
        )
    return [Part("acts.html", {"forms": forms, "links": ()})] if forms else []
