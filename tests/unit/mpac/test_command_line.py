"""run.py on a fresh machine and the installed command line give the same help and corrections."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mpac.__main__ import main
from mpac.cli.commands import HELP, command_names
from mpac.cli.offline_help import OTHER_NAMES, RENDERED, answer_offline, closest_match
from mpac.devtools.documentation.help import render_help
from mpac.stack.state_folder import ROOT
from tests.polling import HANGS_AFTER_SECONDS


def run_py(*arguments: str, environment: Path) -> subprocess.CompletedProcess[str]:
    """Run run.py as on a fresh machine: with Python alone, without site packages."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "run.py"), *arguments],
        env={"MPAC_VENV": str(environment), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER_SECONDS,
    )


HELPS = [[], ["--help"], ["-h"], ["help"], ["help", "up"], ["up", "--help"], ["up", "--detach", "-h"]]
MISTYPED = {
    ("stauts",): "Did you mean `status`?",
    ("UP",): "Did you mean `up`?",
    ("dwon", "--home", "x"): "Did you mean `down`?",
    ("start",): "Did you mean `up`?",
    ("zzzzzz",): "Choose from: up, down, status",
    ("help", "statsu"): "Did you mean `status`?",
    ("up", "--detatch"): "Did you mean `--detach`?",
    ("up", "--only", "wroker"): "Did you mean `worker`?",
    ("up", "--only=postgers"): "Did you mean `postgres`?",
    ("--home", "x", "up", "--detach"): "Options must follow the command: `up --home x --detach`.",
    ("--home", "x"): "The command must come first",
    ("token", "--role", "manager"): "Did you mean `store_manager`?",
}


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_is_printed_on_a_fresh_machine_and_nothing_is_installed(arguments: list[str], tmp_path: Path) -> None:
    done = run_py(*arguments, environment=tmp_path / "venv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "Usage: python3 run.py up" if "up" in arguments else "Usage: python3 run.py [OPTIONS]"
    )
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(("arguments", "said"), MISTYPED.items(), ids=map(" ".join, MISTYPED))
def test_a_mistyped_command_or_option_is_corrected_on_a_fresh_machine(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = run_py(*arguments, environment=tmp_path / "venv")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(("arguments", "said"), MISTYPED.items(), ids=map(" ".join, MISTYPED))
def test_the_installed_command_line_makes_the_same_corrections(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mpac", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said.replace("`--detach`", "'--detach'") in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["up", "--workers", "--detatch"],  # click refuses this value of an option
        ["test", "tests/unit", "--collect-only"],
        ["bench", "--quick"],
        ["bench", "--", "--help"],
        ["migrate", "head", "--", "--x"],
    ],
    ids=" ".join,
)
def test_run_py_leaves_other_errors_to_the_command(arguments: list[str]) -> None:
    assert answer_offline(arguments) is None


def test_the_rendered_help_covers_every_command_and_matches_click() -> None:
    assert set(json.loads(RENDERED.read_text())) == {"mpac", *command_names()}
    assert RENDERED.read_text() == render_help(), "run `python3 run.py docs`"


def test_alternative_names_point_to_commands_and_are_not_commands() -> None:
    assert set(OTHER_NAMES) <= set(HELP) | {"logs"}
    assert not {other for others in OTHER_NAMES.values() for other in others} & set(HELP)


@pytest.mark.parametrize("command", HELP)
def test_two_swapped_letters_of_any_command_are_recognised(command: str) -> None:
    for place in range(len(command) - 1):
        swapped = command[:place] + command[place + 1] + command[place] + command[place + 2 :]
        assert closest_match(swapped, HELP) == command


def test_help_into_a_closed_pipe_is_not_an_error(tmp_path: Path) -> None:
    python, program = shlex.quote(sys.executable), shlex.quote(str(ROOT / "run.py"))
    script = f"set -e; {python} -m mpac --help | true; {python} {program} --help | true"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env={"MPAC_VENV": str(tmp_path / "venv"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
