"""The size norms as a check: files, functions, and the median; ends with 1 over an alarm."""

from __future__ import annotations

import ast
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_ALARM, TEST_ALARM, MEDIAN_ALARM, FUNCTION_ALARM = 500, 800, 150, 60


def main() -> int:
    """Print every alarm and the summary."""
    alarms, lengths = [], []
    for path in sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("examples/**/*.py")]):
        text = path.read_text("utf-8")
        lines = text.count("\n")
        name = path.relative_to(ROOT)
        is_test = name.parts[0] == "tests"
        if lines > (TEST_ALARM if is_test else FILE_ALARM):
            alarms.append(f"{name}: {lines} lines")
        if not is_test:
            lengths.append(lines)
            alarms += [f"{name}:{line} {function}: {size} lines" for function, line, size in _long(ast.parse(text))]
    median = statistics.median(lengths) if lengths else 0
    if median > MEDIAN_ALARM:
        alarms.append(f"the median file has {median:.0f} lines, over {MEDIAN_ALARM}")
    for alarm in alarms:
        print(alarm)
    print(f"{len(lengths)} source files, median {median:.0f} lines, {len(alarms)} alarms")
    return 1 if alarms else 0


def _long(tree: ast.Module) -> list[tuple[str, int, int]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > FUNCTION_ALARM:
                found.append((node.name, node.lineno, size))
    return found


if __name__ == "__main__":
    sys.exit(main())
