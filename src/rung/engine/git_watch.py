"""Looking at a git repository on this machine: where a branch stands, and what changed since the last look.

Git is asked with everything off that could run a program named by the repository: hooks, monitors, filters of text.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from rung.pipelines.hooks import push_cause
from rung.pipelines.triggering import Signal, Trigger

_log = logging.getLogger("rung.engine")
_TIMEOUT_S = 20.0
_MOST_PATHS = 20_000
_QUIET = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never", "--no-optional-locks")
_NO_COMMIT = "0" * 40


def look(project_folder: str, trigger: Trigger, held: dict[str, Any] | None) -> Signal | None:
    """A signal when the branch has moved since the facts of the last call, or is seen for the first time; else None."""
    folder = (Path(project_folder or ".") / str(trigger.options["folder"])).resolve()
    branch = str(trigger.options.get("branch", "main"))
    after = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/heads/{branch}^{{commit}}").strip()
    if not after or (held is not None and held.get("after") == after):
        return None
    before = str(held.get("after") or _NO_COMMIT) if held else _NO_COMMIT
    changed = [] if before == _NO_COMMIT else _paths(folder, before, after)
    facts = {
        "repository": folder.name, "branch": branch, "before": before, "after": after, "commit": after, "first_look": held is None,
        "paths": (changed or [])[:_MOST_PATHS], "complete": changed is not None and before != _NO_COMMIT and len(changed) <= _MOST_PATHS,
        "title": _git(folder, "log", "-1", "--format=%s", after, "--").strip()[:1000],
        "pusher": _git(folder, "log", "-1", "--format=%an", after, "--").strip()[:1000],
    }  # fmt: skip
    return Signal(kind="push", subject=trigger.subject, cause=push_cause(facts), facts=facts)


def _paths(folder: Path, before: str, after: str) -> list[str] | None:
    """Paths that differ between two commits; None when the older one has gone."""
    told = _git(
        folder, "diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", before, after, "--", ok=None
    )
    return None if told is None else [path[:1000] for path in told.split("\0") if path]


def _git(folder: Path, *arguments: str, ok: str | None = "") -> Any:
    program = shutil.which("git")
    if program is None or not folder.is_dir():
        _log.warning("push trigger: %s", "there is no git" if program is None else f"{folder} is no folder")
        return ok
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("GIT_")}, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [program, *_QUIET, "-C", str(folder), *arguments], capture_output=True, timeout=_TIMEOUT_S, check=False, env=environment,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("push trigger: git in %s: %s", folder, error)
        return ok
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ok
