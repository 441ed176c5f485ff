"""The doctor reports the problems of a state folder, each with advice."""

import os
from pathlib import Path

import pytest

from mpac.cli.doctor_checks import run_check, state_folder
from mpac.stack.state_folder import open_home, private_folder


def test_doctor_accepts_a_state_folder_of_the_current_user(tmp_path: Path) -> None:
    home = open_home(tmp_path / "state")
    found = run_check(state_folder, home)
    assert (found.advice, found.fatal) == ("", False)


def test_doctor_rejects_a_state_folder_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = open_home(tmp_path / "state")
    private_folder(home.secrets)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)  # from here on this process belongs to another user
    found = run_check(state_folder, home)
    assert "belongs to" in found.text
    assert found.fatal
    assert found.advice


def test_doctor_rejects_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    found = run_check(state_folder, open_home(tmp_path / "state"))
    assert not found.fatal
    found = run_check(state_folder, type(open_home(tmp_path / "state"))(tmp_path))
    assert "other files" in found.text
    assert found.fatal
