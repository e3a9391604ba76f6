"""Settings: file < environment < flag, and errors that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.errors import Invalid
from rung.core.settings import explained_settings, load_settings


def write(folder: Path, text: str) -> Path:
    (folder / "rung.toml").write_text(text, "utf-8")
    return folder


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    folder = write(tmp_path, "[server]\nport = 1\nhost = 'localhost'\n")
    settings, explained = explained_settings(folder, environ={"RUNG_SERVER_PORT": "2", "RUNG_PROJECT": "churn"}, flags={"server.port": "3"})
    assert (settings.server.port, settings.server.host, settings.project) == (3, "localhost", "churn")
    sources = {value.name: value.source for value in explained}
    assert sources["server.port"] == "flag"
    assert sources["project"] == "RUNG_PROJECT"
    assert sources["server.host"].endswith("rung.toml")
    assert sources["engine.workers"] == "default"


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"server\.prot.*server\.port"):
        load_settings(write(tmp_path, "[server]\nprot = 1\n"), environ={})


def test_a_value_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"server\.port"):
        load_settings(write(tmp_path, "[server]\nport = 'many'\n"), environ={})


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"rung\.toml"):
        load_settings(write(tmp_path, "[server\n"), environ={})


def test_the_file_is_found_from_a_folder_below_it(tmp_path: Path) -> None:
    below = write(tmp_path, "project = 'churn'\n") / "a" / "b"
    below.mkdir(parents=True)
    settings = load_settings(below, environ={})
    assert settings.project == "churn"
    assert settings.home_path == tmp_path.resolve() / ".rung"


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    _, explained = explained_settings(tmp_path, environ={"RUNG_TOKEN": "rung_secret"})
    assert "rung_secret" not in {value.value for value in explained}


def test_environments_are_checked_too(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"environments\.production\.aprovals"):
        load_settings(write(tmp_path, "[environments.production]\naprovals = 2\n"), environ={})
