"""Scaffolds: the text of a first file of tests for a pipeline, written once and the user's from then on.

A step is called as a plain function wherever what it is given is at hand: a sample that is named like its parameter, a
literal of the plan, a default, or what an earlier step of this kind answers. Steps with side effects
(``cache=False``) and those after them are tested by running the whole pipeline in a fresh platform.
"""

from __future__ import annotations

import inspect
import keyword
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rung.core.errors import Invalid
from rung.pipelines.authoring import Pipeline
from rung.pipelines.testing.records import ScaffoldedFile
from rung.pipelines.tracing import Node, Plan, handles_in

FOLDER = "tests/pipelines"
Role = Literal["model", "features", "other"]
_MODEL_WORDS = re.compile(r"model|classifier|regressor|estimator|booster|pipeline|ridge|lasso|forest|svc|svr", re.IGNORECASE)
_TABLE_WORDS = re.compile(r"frame|table|series|dataset", re.IGNORECASE)


@dataclass
class Wish:
    """What a scaffold is told.

    ``samples`` are files by the parameter they are for, ``datasets`` files by the dataset that a fresh platform gets
    them as; ``label`` is the column a model learns.
    """

    pipeline: Pipeline[..., Any]
    plan: Plan
    params: Mapping[str, Any]
    samples: dict[str, str] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    label: str = ""
    depth: int = 2


def scaffold(wish: Wish) -> tuple[ScaffoldedFile, ...]:
    """The files of a scaffold. Raises Invalid for a sample that no step has a parameter for."""
    parameters = {name for node in wish.plan.nodes.values() for name in node.arguments}
    strange = sorted(set(wish.samples) - parameters)
    if strange:
        raise Invalid(
            f"No step of pipeline {wish.pipeline.name!r} has a parameter {strange[0]!r}.",
            code="pipelines.bad_sample", hint=f"Parameters that steps are given: {', '.join(sorted(parameters))}.",
        )  # fmt: skip
    callable_ = _callable(wish)
    blocks = [_head(wish, callable_), *_sample_fixtures(wish)]
    for node in wish.plan.nodes.values():
        if node.key in callable_:
            blocks += _of_step(wish, node, callable_)
    blocks += _whole(wish)
    text = "\n\n\n".join(block.strip("\n") for block in blocks if block) + "\n"
    return (
        ScaffoldedFile(path=f"{FOLDER}/test_{_word(wish.pipeline.name)}.py", text=text),
        ScaffoldedFile(path=f"{FOLDER}/conftest.py", text=conftest(wish.depth)),
    )


def conftest(depth: int = 2) -> str:
    """What lets tests in a folder so deep within the project import its modules."""
    return _CONFTEST.replace("DEPTH", str(depth))


_CONFTEST = '''"""Lets tests import the project's modules, and knows their mark."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[DEPTH]))


def pytest_configure(config):
    config.addinivalue_line("markers", "rung_check(kind, pipeline, step): what a test proves of a pipeline or one of its steps")
'''


def role_of(node: Node) -> Role:
    """What a step answers, by its annotation: a model, a table of features, or something else."""
    if len(node.step.outputs) > 1:
        return "other"
    try:
        answered = typing.get_type_hints(node.step.function).get("return")
    except (NameError, TypeError, AttributeError):
        answered = node.step.signature.return_annotation
    name = getattr(answered, "__name__", "") or str("" if answered is inspect.Signature.empty else answered)
    if isinstance(answered, type) and (hasattr(answered, "predict") or hasattr(answered, "fit")):
        return "model"
    if _TABLE_WORDS.search(name):
        return "features"
    if _MODEL_WORDS.search(name) or (not name and re.search(r"^(fit|train)", node.step.name)):
        return "model"
    return "other"


def _callable(wish: Wish) -> dict[str, dict[str, str]]:
    """For each step that a test can call: the text of its arguments."""
    found: dict[str, dict[str, str]] = {}
    for node in wish.plan.nodes.values():
        if not node.step.options.cache or node.kind != "step" or node.conditions or node.step.options.secrets:
            continue
        arguments: dict[str, str] = {}
        for name, value in node.arguments.items():
            default = node.step.signature.parameters[name].default
            text = name if name in wish.samples else _literal(value, found)
            if text is None:
                break
            if name in wish.samples or default is inspect.Parameter.empty or next(handles_in(value), None) is not None or value != default:
                arguments[name] = text
        else:
            found[node.key] = arguments
    return found


def _literal(value: Any, known: Mapping[str, Any]) -> str | None:
    """An argument as text: a literal, or the fixture of an earlier step; None for what a test does not have."""
    handles = list(handles_in(value))
    if not handles:
        text = repr(value)
        return text if len(text) < 200 and _is_literal(value) else None  # noqa: PLR2004 - what a line of a test has room for
    if len(handles) != 1 or value is not handles[0] or handles[0].key not in known:
        return None
    handle = handles[0]
    path = "".join(f"[{part!r}]" for part in handle.path)
    return f"{_word(handle.key)}_answer" + ("" if handle.index is None else f"[{handle.index}]") + path


def _is_literal(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_literal(item) for item in value)
    if isinstance(value, dict):
        return all(_is_literal(item) for pair in value.items() for item in pair)
    return value is None or type(value) in {bool, int, float, str, bytes}


def _head(wish: Wish, callable_: Mapping[str, Any]) -> str:
    modules = sorted({node.step.target.partition(":")[0] for node in wish.plan.nodes.values()} | {wish.pipeline.target.partition(":")[0]})
    lines = [
        f'"""Tests of pipeline ``{wish.pipeline.name}``. `rung test` wrote them once; they are yours to change."""',
        "",
        "from pathlib import Path",
        "",
        "import pytest",
        "",
        *(f"import {module}" for module in modules),
        *(["from rung.client.testing import fresh_platform"] if _is_whole(wish) else []),
        "from rung.pipelines.testing import checks",
        "",
        'SAMPLES = Path(__file__).parent / "samples"',
        f"PIPELINE = {wish.pipeline.name!r}",
    ]
    if any(role_of(wish.plan.nodes[key]) == "model" for key in callable_) and wish.label:
        lines += [
            f"LABEL = {wish.label!r}",
            "SMALL_BATCH = 200  # rows that a model must be able to learn by heart",
            "LEARNT = 0.95  # of a constant answer's loss, on the rows it was trained on",
            "BY_HEART = 0.5  # the same, on the small batch",
        ]
    return "\n".join(lines)


def _sample_fixtures(wish: Wish) -> list[str]:
    return [
        f'@pytest.fixture\ndef {_word(name)}():\n    """A small real sample."""\n    return checks.read_sample(SAMPLES / {Path(file).name!r})'
        for name, file in sorted(wish.samples.items())
    ]


def _of_step(wish: Wish, node: Node, callable_: Mapping[str, dict[str, str]]) -> list[str]:
    """Tests of one step."""
    arguments, word = callable_[node.key], _word(node.key)
    needs = sorted({match for text in arguments.values() for match in re.findall(r"^\w+", text) if match in _fixtures(wish, callable_)})
    call = _call(node, arguments)
    given = ", ".join(needs)
    blocks = [f'@pytest.fixture\ndef {word}_answer({given}):\n    """What step ``{node.step.name}`` answers."""\n    return {call}']
    role = role_of(node)
    data = next((name for name in arguments if name in wish.samples), None)
    if role == "model" and data is not None and wish.label:
        blocks += _of_model(node, arguments, given, data)
    else:
        blocks.append(
            _test(node, "deterministic", f"{word}_answers_the_same_again", ", ".join([*needs, f"{word}_answer"]),
                  f"checks.assert_same_value({word}_answer, {call}, of={node.step.name!r})")
        )  # fmt: skip
    if role == "features":
        blocks.append(
            _test(node, "feature_logic", f"{word}_answers_sound_features", f"{word}_answer", f"checks.assert_sound_features({word}_answer)")
        )
    blocks.append(
        _test(
            node,
            "yields_artifacts",
            f"{word}_yields_its_artifact",
            f"{word}_answer",
            f"checks.assert_kept({word}_answer, of={node.step.name!r})",
        )
    )
    return blocks


def _of_model(node: Node, arguments: dict[str, str], given: str, data: str) -> list[str]:
    word, model, call = _word(node.key), f"{_word(node.key)}_answer", _call(node, arguments)
    small = _call(node, {**arguments, data: "small"})
    both = ", ".join(dict.fromkeys([model, data]))
    return [
        _test(node, "model_methods", f"{word}_gives_a_model_that_answers_each_row", both, f"checks.assert_answers_each_row({model}, {data}, LABEL)"),
        _test(node, "converges", f"{word}_learns_from_the_sample", both, f"checks.assert_learns({model}, {data}, LABEL, share=LEARNT)"),
        _test(
            node, "overfits_small_batch", f"{word}_learns_a_small_batch_by_heart", given,
            f"small = checks.first_rows({data}, SMALL_BATCH, LABEL)\n    checks.assert_learns({small}, small, LABEL, share=BY_HEART)",
        ),
        _test(node, "no_nan", f"{word}_gives_a_model_that_stays_finite", both, f"checks.assert_finite_on_extremes({model}, {data}, LABEL)"),
        _test(
            node, "deterministic", f"{word}_gives_the_same_model_again", ", ".join(dict.fromkeys([model, *given.split(", ")])),
            f"checks.assert_same_answers({model}, {call}, {data}, LABEL)",
        ),
    ]  # fmt: skip


def _whole(wish: Wish) -> list[str]:
    """Tests of the whole pipeline in a fresh platform."""
    if not _is_whole(wish):
        return []
    word = _word(wish.pipeline.name)
    adds = "".join(
        f"        client.data.add({name!r}, checks.read_sample(SAMPLES / {Path(file).name!r}))\n"
        for name, file in sorted(wish.datasets.items())
    )
    target, _, name = wish.pipeline.target.partition(":")
    run = f"client.pipelines.run({target}.{name}, {dict(wish.params)!r})"
    return [
        f'@pytest.fixture(scope="module")\ndef {word}_run(tmp_path_factory):\n'
        f'    """A run of the whole pipeline in a fresh platform with small datasets."""\n'
        f'    with fresh_platform(tmp_path_factory.mktemp("platform")) as client:\n{adds}'
        f"        run = {run}\n        yield client.pipelines.get(run.id)",
        f'@pytest.mark.rung_check("integration", pipeline=PIPELINE)\ndef test_{word}_runs_from_end_to_end({word}_run):\n'
        f'    assert {word}_run.run.status == "succeeded", {word}_run.run.error',
        f'@pytest.mark.rung_check("yields_artifacts", pipeline=PIPELINE)\ndef test_every_step_of_{word}_yields_its_artifacts({word}_run):\n'
        f'    ran = [step for step in {word}_run.steps if step.status != "skipped"]\n'
        f"    assert [step.key for step in ran if not step.outputs] == []",
    ]


def _is_whole(wish: Wish) -> bool:
    return bool(wish.datasets) or all(node.step.options.cache for node in wish.plan.nodes.values())


def _test(node: Node, kind: str, name: str, given: str, body: str) -> str:
    return f"@pytest.mark.rung_check({kind!r}, pipeline=PIPELINE, step={node.step.name!r})\ndef test_{name}({given}):\n    {body}".replace(
        "'" + kind + "'", f'"{kind}"'
    )


def _call(node: Node, arguments: Mapping[str, str]) -> str:
    module, _, path = node.step.target.partition(":")
    return f"checks.seeded({', '.join([f'{module}.{path}', *(f'{name}={text}' for name, text in arguments.items())])})"


def _fixtures(wish: Wish, callable_: Mapping[str, Any]) -> set[str]:
    return {_word(name) for name in wish.samples} | {f"{_word(key)}_answer" for key in callable_}


def _word(name: str) -> str:
    word = re.sub(r"\W", "_", name)
    return f"{word}_" if keyword.iskeyword(word) or word[:1].isdigit() else word
