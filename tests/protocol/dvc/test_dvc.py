"""A DVC repository brought over gives the files that DVC's own ``repro`` gives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rung.client.client import connect
from rung.core.errors import Invalid, NotFound
from rung.protocols.exchange.dvc import read_stages

DVC = os.environ.get("RUNG_TEST_DVC", "")
FILES = {
    "dvc.yaml": """
vars:
  - names: [a, b]
stages:
  prepare:
    cmd: python src/prepare.py ${prepare.rows} > log.txt
    wdir: .
    deps: [src/prepare.py, data/raw.csv]
    params: [prepare]
    outs:
      - data/prepared
      - log.txt: {cache: false}
  train:
    foreach: ${names}
    do:
      cmd: python src/train.py ${item} ${train}
      deps: [src/train.py, data/prepared]
      outs: ['models/${item}.txt']
  grid:
    matrix:
      size: [1, 2]
      word: [x]
    cmd: mkdir -p grid && echo ${item.word}${item.size} > grid/${key}.txt
    outs: ['grid/${key}.txt']
  inside:
    wdir: sub
    cmd:
      - cat ../models/a.txt > joined.txt
      - cat ../models/b.txt >> joined.txt
    deps: [../models/a.txt, ../models/b.txt]
    outs: [joined.txt]
  evaluate:
    cmd: python src/evaluate.py
    deps: [sub/joined.txt, src/evaluate.py]
    params: [params.yaml: [prepare.rows]]
    metrics:
      - metrics.json: {cache: false}
    plots: [plot.csv]
""",
    "params.yaml": "prepare: {rows: 3}\ntrain: {depth: 2, fast: true, slow: false, sizes: [1, 2]}\n",
    "data/raw.csv": "1\n2\n3\n4\n",
    "src/prepare.py": "import pathlib, sys\nrows = pathlib.Path('data/raw.csv').read_text().split()[:int(sys.argv[1])]\n"
    "place = pathlib.Path('data/prepared'); place.mkdir(parents=True)\n"
    "[(place / f'{i}.txt').write_text(row) for i, row in enumerate(rows)]\nprint(len(rows))\n",
    "src/train.py": "import pathlib, sys\nparts = sorted(p.read_text() for p in pathlib.Path('data/prepared').iterdir())\n"
    "pathlib.Path('models').mkdir(exist_ok=True)\npathlib.Path(f'models/{sys.argv[1]}.txt').write_text(' '.join(sys.argv[1:] + parts))\n",
    "src/evaluate.py": "import json, pathlib\ntext = pathlib.Path('sub/joined.txt').read_text()\n"
    "json.dump({'length': len(text), 'deep': {'words': len(text.split())}}, open('metrics.json', 'w'))\n"
    "pathlib.Path('plot.csv').write_text('x,y\\n1,2\\n')\n",
    "sub/keep": "",
}
OUTS = ("data/prepared/0.txt", "data/prepared/2.txt", "log.txt", "models/a.txt", "models/b.txt", "grid/1-x.txt", "grid/2-x.txt",
        "sub/joined.txt", "metrics.json", "plot.csv")  # fmt: skip


def _repository(folder: Path, files: dict[str, str] = FILES) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _rung(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, "-m", "rung.cli.main", *arguments], cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip


def _made(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in OUTS}


def test_an_imported_repository_makes_every_output_and_reruns_what_changed(tmp_path: Path) -> None:
    folder = _repository(tmp_path)
    done = _rung(folder, "import", "dvc")
    assert done.returncode == 0, done.stderr
    first = _rung(folder, "run", "repro")
    assert first.returncode == 0, first.stdout + first.stderr
    # by hand: rows 1 2 3; options of the mapping train as DVC writes them
    assert (folder / "models/a.txt").read_text() == "a --depth 2 --fast --sizes 1 2 1 2 3"
    assert (folder / "grid/2-x.txt").read_text() == "x2\n"
    assert (folder / "sub/joined.txt").read_text() == (folder / "models/a.txt").read_text() + (folder / "models/b.txt").read_text()
    before = _made(folder)
    shutil.rmtree(folder / "models")
    again = _rung(folder, "run", "repro")
    assert "7 cached" in again.stderr, again.stderr
    assert _made(folder) == before
    (folder / "data/raw.csv").write_text("5\n6\n7\n8\n")
    changed = _rung(folder, "run", "repro", "--explain")
    assert "2 cached" in changed.stderr, changed.stderr  # the two of the matrix
    assert (folder / "models/b.txt").read_text().endswith("5 6 7")


VARIED = {
    "dvc.yaml": """
vars:
  - more.yaml
  - greeting: hello
stages:
  say:
    cmd: echo ${greeting} ${name} ${deep.words[0]} > said.txt
    outs: [said.txt]
  each:
    foreach: ${models}
    do:
      cmd: echo ${key} ${item.rate} > ${item.out}
      outs: ['${item.out}']
  own:
    wdir: sub
    vars: [own.yaml]
    cmd:
      - echo ${word} ${name} > a.txt
      - echo \\${HOME} >> a.txt
    outs: [a.txt]
""",
    "params.yaml": "name: ann\ndeep: {words: [x, y]}\n",
    "more.yaml": "models:\n  small: {rate: 1, out: small.txt}\n  large: {rate: 2, out: large.txt}\n",
    "sub/own.yaml": "word: inner\n",
}


def test_commands_follow_their_variables_without_another_import(tmp_path: Path) -> None:
    folder = _repository(tmp_path, VARIED)
    assert _rung(folder, "import", "dvc").returncode == 0
    assert _rung(folder, "run", "repro").returncode == 0

    def said() -> list[str]:
        return [(folder / name).read_text() for name in ("said.txt", "small.txt", "large.txt")]

    assert said() == ["hello ann x\n", "small 1\n", "large 2\n"]
    assert (folder / "sub/a.txt").read_text().startswith("inner ann\n/")
    (folder / "params.yaml").write_text("name: bob\ndeep: {words: [z]}\n")
    (folder / "more.yaml").write_text(VARIED["more.yaml"].replace("rate: 2", "rate: 3"))
    changed = _rung(folder, "run", "repro")
    assert "4 steps ran, 1 cached" in changed.stderr, changed.stderr  # the small one; putting outputs in place always runs
    assert said() == ["hello bob z\n", "small 1\n", "large 3\n"]
    assert (folder / "sub/a.txt").read_text().startswith("inner bob\n/")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("out: small.txt", "out: tiny.txt", "models.small.out is 'tiny.txt', and the stages were made of 'small.txt'"),
        ("  large:", "  huge:", "models is ['small', 'huge'], and the stages were made of ['small', 'large']"),
        ("models:", "modules:", "models is not there any more, and the stages were made of ['small', 'large']"),
    ],
)
def test_a_variable_that_shapes_stages_asks_for_another_import(old: str, new: str, told: str, tmp_path: Path) -> None:
    folder = _repository(tmp_path, VARIED)
    assert _rung(folder, "import", "dvc").returncode == 0
    (folder / "more.yaml").write_text(VARIED["more.yaml"].replace(old, new))
    done = _rung(folder, "run", "repro")
    assert done.returncode == 1
    assert told in done.stderr


def test_metrics_of_a_stage_are_metrics_of_the_run(tmp_path: Path) -> None:
    folder = _repository(tmp_path)
    assert _rung(folder, "import", "dvc", "--name", "all").returncode == 0
    assert _rung(folder, "run", "all").returncode == 0
    with connect(folder=folder) as client:
        run = client.pipelines.get("all:1").run
        metrics = client.tracking.get(str(run.run_id)).metrics
    # a.txt and b.txt: "a --depth 2 --fast --sizes 1 2 1 2 3" is 36 characters and 10 words, joined without a space
    assert metrics == {"length": 72.0, "deep.words": 19.0}


@pytest.mark.slow
@pytest.mark.skipif(not DVC, reason="RUNG_TEST_DVC names no dvc command")
def test_the_outputs_are_those_of_dvc_repro(tmp_path: Path) -> None:
    theirs, ours = _repository(tmp_path / "theirs"), _repository(tmp_path / "ours")
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    for command in ([DVC, "init", "--no-scm", "-q"], [DVC, "repro", "-q"]):
        subprocess.run(command, cwd=theirs, env=environ, check=True, timeout=120)
    assert _rung(ours, "import", "dvc").returncode == 0
    done = _rung(ours, "run", "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    assert _made(ours) == _made(theirs)
    # what DVC locked are the commands we read
    assert not read_stages(theirs / "dvc.yaml").notes


def test_a_module_of_somebody_else_is_not_written_over(tmp_path: Path) -> None:
    folder = _repository(tmp_path)
    (folder / "pipelines.py").write_text("x = 1\n")
    assert _rung(folder, "import", "dvc").returncode == 1
    assert (folder / "pipelines.py").read_text() == "x = 1\n"
    assert _rung(folder, "import", "dvc", "-o", "stages.py").returncode == 0


def test_a_failing_stage_is_named_with_its_command_and_exit_code(tmp_path: Path) -> None:
    folder = _repository(tmp_path, {"dvc.yaml": "stages: {one: {cmd: 'echo oh no >&2; exit 7'}}"})
    assert _rung(folder, "import", "dvc").returncode == 0
    done = _rung(folder, "run", "repro")
    assert done.returncode == 1
    assert "Stage 'one': `echo oh no >&2; exit 7` ended with exit code 7: oh no" in done.stderr


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("stages: {a: {deps: [x]}}", "Stage 'a' has no cmd"),
        ("stages: {a: {cmd: x, out: [y]}}", "Stage 'a' has no meaning for 'out'"),
        ("stages: {a: {cmd: x, outs: [../y]}}", "Stage 'a' names ../y, which lies above dvc.yaml"),
        ("stages: {a: {cmd: x, deps: ['s3://b/k']}}", "Stage 'a' names s3://b/k, which lies outside"),
        ("stages: {a: {cmd: 'echo ${nothing}'}}", "Stage 'a' uses ${nothing}, which no vars define"),
        ("stages: {a: {cmd: x, outs: [d]}, b: {cmd: x, outs: [d/e]}}", "Stage 'b' makes d/e, which stage 'a' makes"),
        ("stages: {a: {foreach: 3, do: {cmd: x}}}", "Stage 'a' has a foreach that is neither"),
        ("stages: {a: {cmd: x, params: [p.py: [k]]}}", "Stage 'a' has parameters in p.py"),
        ("stages: {}", "has no stages"),
        ("stages: 3", "stages that are no mapping"),
        ("stagse: {}", "no meaning for 'stagse'"),
        ("- a", "holds no names"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_dvc_yaml_is_said_with_the_stage(yaml: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(yaml)
    with pytest.raises((Invalid, NotFound)) as told:
        read_stages(tmp_path / "dvc.yaml")
    assert said in str(told.value)
