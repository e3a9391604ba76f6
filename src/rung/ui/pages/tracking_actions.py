"""The acts on runs, experiments and views. Each is one request, or one for each run that is selected."""

from __future__ import annotations

import re
from collections.abc import Callable

from rung.core.errors import Invalid
from rung.tracking.records import (
    CreateExperiment,
    DeleteExperiment,
    DeleteRun,
    LogBatch,
    RestoreExperiment,
    RestoreRun,
    UpdateExperiment,
    UpdateRun,
)
from rung.tracking.views import DeleteView, SaveView
from rung.ui import words
from rung.ui.blocks import Visit
from rung.ui.looks import ids

_NOTE = "mlflow.note.content"  # where the MLflow client keeps and shows the same note


def rename_run(visit: Visit, form: dict[str, str]) -> str:
    """Give a run another name."""
    return words.address("runs", visit.ask(UpdateRun(run=_given(form, "run"), name=_given(form, "name"))).id)


def note_run(visit: Visit, form: dict[str, str]) -> str:
    """Write a note on a run."""
    run = _given(form, "run")
    visit.ask(LogBatch(run=run, tags={_NOTE: _note(form)}))
    return words.address("runs", run)


def tag_run(visit: Visit, form: dict[str, str]) -> str:
    """Set a tag of a run."""
    run = _given(form, "run")
    visit.ask(LogBatch(run=run, tags={_given(form, "key"): form.get("value", "")}))
    return words.address("runs", run)


def delete_run(visit: Visit, form: dict[str, str]) -> str:
    """Put a run aside."""
    return words.address("runs", visit.ask(DeleteRun(run=_given(form, "run"))).id)


def restore_run(visit: Visit, form: dict[str, str]) -> str:
    """Bring a run back."""
    return words.address("runs", visit.ask(RestoreRun(run=_given(form, "run"))).id)


def compare_runs(visit: Visit, form: dict[str, str]) -> str:
    """Lead to the comparison of the selected runs."""
    return f"/compare?{words.query(runs=','.join(_selected(form)))}"


def delete_runs(visit: Visit, form: dict[str, str]) -> str:
    """Put the selected runs aside."""
    for run in _selected(form):
        visit.ask(DeleteRun(run=run))
    return _back(form)


def restore_runs(visit: Visit, form: dict[str, str]) -> str:
    """Bring the selected runs back."""
    for run in _selected(form):
        visit.ask(RestoreRun(run=run))
    return _back(form)


def tag_runs(visit: Visit, form: dict[str, str]) -> str:
    """Set a tag of the selected runs."""
    key = _given(form, "key")
    for run in _selected(form):
        visit.ask(LogBatch(run=run, tags={key: form.get("value", "")}))
    return _back(form)


def save_view(visit: Visit, form: dict[str, str]) -> str:
    """Keep the look at the table under a name."""
    number = form.get("experiment", "")
    columns = tuple(line for line in form.get("columns", "").splitlines() if line)
    visit.ask(
        SaveView(
            name=_given(form, "name"), filter=form.get("where", ""), order_by=form.get("order", ""), columns=columns,
            experiment=int(number) if number.isdecimal() else None,
        )
    )  # fmt: skip
    return _back(form)


def delete_view(visit: Visit, form: dict[str, str]) -> str:
    """Forget a view."""
    visit.ask(DeleteView(name=_given(form, "name")))
    return _back(form)


def make_experiment(visit: Visit, form: dict[str, str]) -> str:
    """Make an experiment."""
    return words.address("experiments", visit.ask(CreateExperiment(name=_given(form, "name"), note=_note(form))).number)


def change_experiment(visit: Visit, form: dict[str, str]) -> str:
    """Rename an experiment or write its note."""
    held = visit.ask(UpdateExperiment(number=_number(form), name=_given(form, "name"), note=_note(form)))
    return words.address("experiments", held.number)


def delete_experiment(visit: Visit, form: dict[str, str]) -> str:
    """Put an experiment aside."""
    return words.address("experiments", visit.ask(DeleteExperiment(number=_number(form))).number)


def restore_experiment(visit: Visit, form: dict[str, str]) -> str:
    """Bring an experiment back."""
    return words.address("experiments", visit.ask(RestoreExperiment(number=_number(form))).number)


TRACKING: dict[str, Callable[[Visit, dict[str, str]], str]] = {
    "rename-run": rename_run, "note-run": note_run, "tag-run": tag_run, "delete-run": delete_run, "restore-run": restore_run,
    "compare-runs": compare_runs, "delete-runs": delete_runs, "restore-runs": restore_runs, "tag-runs": tag_runs, "save-view": save_view,
    "delete-view": delete_view, "make-experiment": make_experiment, "change-experiment": change_experiment, "delete-experiment": delete_experiment,
    "restore-experiment": restore_experiment,
}  # fmt: skip


def _selected(form: dict[str, str]) -> tuple[str, ...]:
    """Runs whose boxes are ticked, here (``run``, a line each) and, where scripts keep them, on other pages (``also``)."""
    found = ids(form.get("also", "") + "\n" + form.get("run", ""))
    if not found:
        raise Invalid("No run is selected.", code="ui.nothing_selected", hint="Tick the boxes of some runs first.")
    return found


def _back(form: dict[str, str]) -> str:
    """The page of ours the form came from."""
    target = re.sub(r"^/p/[^/]+(?=/)", "", form.get("back", ""))  # the answer is led back into the project it came from
    return target if target.startswith(("/runs", "/experiments")) and "\\" not in target and not target.startswith("//") else "/runs"


def _note(form: dict[str, str]) -> str:
    """A text of many lines, whose ends browsers write in their own way."""
    return form.get("note", "").replace("\r\n", "\n").strip()


def _given(form: dict[str, str], name: str) -> str:
    value = form.get(name, "").strip()
    if not value:
        raise Invalid(f"The form says nothing for {name!r}.", code="ui.missing_field", hint="Fill in every field.")
    return value


def _number(form: dict[str, str]) -> int:
    value = _given(form, "experiment")
    if not value.isdecimal():
        raise Invalid(f"experiment is {value!r}, not a number.", code="ui.bad_field", hint="Give a whole number.")
    return int(value)
