"""``python -m benchmarks [NAME ...]``: run all benchmarks, or those whose module name contains NAME."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks
from benchmarks.measure import versions


def main() -> None:
    """Run what was asked for, one after the other."""
    print(versions())
    wanted = sys.argv[1:]
    for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks."):
        short = module.name.removeprefix("benchmarks.")
        if module.ispkg or short in {"__main__", "measure"} or (wanted and not any(word in short for word in wanted)):
            continue
        run = getattr(importlib.import_module(module.name), "run", None)
        if run is not None:
            print(f"\n== {short}")
            run()


if __name__ == "__main__":
    main()
