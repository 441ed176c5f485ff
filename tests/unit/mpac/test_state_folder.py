"""The state folder is private and marked, and no other folder is ever used or emptied."""

from pathlib import Path

import pytest

from mpac.cli.errors import UserError
from mpac.stack.state_folder import DEFAULT_HOME, Home, command, empty_home, open_home, write_private


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_state_folder_and_its_files_are_accessible_to_the_owner_only(tmp_path: Path) -> None:
    home = open_home(tmp_path / "new" / "state")
    write_private(home.run_file, "{}")
    assert mode(home.path) == 0o700
    assert mode(home.run_file) == 0o600


def test_an_empty_folder_becomes_a_private_state_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o755)
    assert mode(open_home(tmp_path / "empty").path) == 0o700


def test_a_folder_with_other_files_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o755)
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        open_home(folder)
    with pytest.raises(UserError, match="not a state folder"):
        empty_home(Home(folder))
    assert mode(folder) == 0o755
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_a_file_at_the_path_of_the_state_folder_is_reported_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"can't be used.*--home"):
        open_home(tmp_path / "file")


def test_an_emptied_state_folder_can_be_used_again(tmp_path: Path) -> None:
    home = open_home(tmp_path / "state")
    (home.path / "postgres" / "data").mkdir(parents=True)
    write_private(home.run_file, "{}")
    empty_home(home)
    assert [path.name for path in home.path.iterdir()] == ["mpac-home"]
    assert open_home(home.path).is_marked


def test_a_failed_write_leaves_the_old_content_and_no_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "run.json"
    write_private(target, "old")
    with pytest.raises(TypeError):
        write_private(target, 5)  # type: ignore[arg-type]  # anything that fails half-way
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_suggested_command_names_the_state_folder_unless_it_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPAC_HOME", str(tmp_path / "state"))  # as commands set it for their child processes
    assert command("down", DEFAULT_HOME) == "python3 run.py down"
    assert command("down", tmp_path / "state") == f"python3 run.py down --home {tmp_path}/state"
    assert command("down", tmp_path / "my state") == f"python3 run.py down --home '{tmp_path}/my state'"
