"""The command table, the command files and the help agree, and failures are reported in one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mpac.cli.commands import HELP, command_names, load_command
from mpac.stack.state_folder import ROOT
from tests.polling import HANGS_AFTER_SECONDS

FILES = {path.stem for path in (ROOT / "mpac" / "cli" / "commands").glob("[a-z]*.py")}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mpac", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER_SECONDS,
    )


def test_every_command_file_is_in_the_command_table_and_the_help() -> None:
    assert set(command_names()) == FILES
    assert set(command_names()) <= HELP.keys()


@pytest.mark.parametrize("word", sorted(FILES))
def test_every_command_has_a_help_text_and_a_home_option(word: str) -> None:
    command = load_command(word)
    assert command.name == word
    assert command.help
    assert any("--home" in parameter.opts for parameter in command.params)
    assert CliRunner().invoke(command, ["--help"]).exit_code == 0


def test_the_help_imports_no_command_and_no_product_module() -> None:
    heavy = ("mpac.cli.commands.up", "mpac.stack.local_stack", "celery", "sqlalchemy", "fastapi", "cryptography")
    code = f"import mpac.__main__, sys; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["up", "--workers", "0"], "not in the range"),
        (["up", "--ports", "x"], "--ports must be auto, free or a number"),
        (
            ["worker", "--queues", "paymnets"],
            "No such queue 'paymnets'. Did you mean `payments`? Choose from: payments,",
        ),
        (["migrate"], "MPAC_DATABASE_URL is not set and no local stack is up"),
        (["reset", "--yes", "--home", str(ROOT)], "is not a state folder of mpac"),
    ],
)
def test_a_command_failure_is_one_sentence_without_a_traceback(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MPAC_DATABASE_URL", "MPAC_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MPAC_HOME", str(tmp_path / "state"))
    done = run(*arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert done.stderr.startswith("mpac: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_status_reports_that_no_stack_is_running(tmp_path: Path) -> None:
    done = run("status", "--home", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "No stack is running" in done.stdout
    assert not (tmp_path / "none").exists()
