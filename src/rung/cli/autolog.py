"""``rung autolog``: run a training script as it is, with what it trains logged."""

from __future__ import annotations

import os
import runpy
import sys
from contextlib import nullcontext
from pathlib import Path

import click

from rung.cli.frame import note, show, state, verb


@click.command(
    "autolog", short_help="Run a training script with what it trains logged.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)  # fmt: skip
@click.option("--experiment", "-e", default="default", show_default=True, help="Where runs are opened.")
@click.option("--name", "-n", help="One run of this name for the whole script; default one for each fit.")
@click.option("--library", "-l", "libraries", multiple=True, help="Watch only this library; repeat for more.")
@click.option("--no-models", is_flag=True, help="Keep no models.")
@click.option("--module", "-m", "as_module", is_flag=True, help="SCRIPT is a module's name, as for python -m.")
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@verb
def command(
    experiment: str,
    name: str | None,
    libraries: tuple[str, ...],
    no_models: bool,  # noqa: FBT001
    as_module: bool,  # noqa: FBT001
    script: str,
    args: tuple[str, ...],
) -> None:
    """Run a Python script in this process with `rung.autolog()` on. What stands after SCRIPT is the script's own.

    \b
    Examples: rung autolog train.py --epochs 3
              rung autolog -e churn -n nightly -l lightgbm train.py
    """
    os.environ.update({f"RUNG_{key.replace('.', '_').upper()}": value for key, value in state().flags.items()})
    if not as_module and not Path(script).is_file():
        raise click.UsageError(f"There is no script {script!r}.")
    import rung  # noqa: PLC0415 - `rung --help` must not pay for it
    from rung.client.autolog.sessions import opened_runs  # noqa: PLC0415 - see above

    rung.autolog(libraries or None, experiment=experiment, models=not no_models)
    outer = rung.start_run(experiment, name) if name else None
    try:
        with outer or nullcontext():
            _run(script, args, as_module=as_module)
    except Exception as error:
        _tell(error)
        raise SystemExit(1) from None
    ids = [outer.id] if outer else opened_runs()
    if state().json:
        show(tuple(rung.get_run(run) for run in ids))
    else:
        note(f"{len(ids)} runs logged. `rung runs list` shows them." if len(ids) != 1 else f"Run {ids[0]} logged.")


def _run(script: str, args: tuple[str, ...], *, as_module: bool) -> None:
    """Run it as Python would."""
    sys.argv = [script, *args]
    sys.path.insert(0, "" if as_module else str(Path(script).resolve().parent))
    if as_module:
        runpy.run_module(script, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(script, run_name="__main__")


def _tell(error: Exception) -> None:
    """Show the traceback from the script on, and have runs that are still open closed as failed by it."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None and frame.tb_frame.f_globals.get("__name__") != "__main__":
        frame = frame.tb_next
    sys.last_value = error
    sys.excepthook(type(error), error.with_traceback(frame), frame)
