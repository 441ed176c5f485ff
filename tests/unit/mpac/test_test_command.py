"""`mpac test` runs and reports both phases, even if the first fails."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from mpac.cli.commands import test as command
from mpac.stack.state_folder import ROOT


def phase(folder: Path, code: str) -> tuple[str, ...]:
    """Write a module with ``code``, and return the arguments of pytest that run it."""
    folder.mkdir()
    (folder / "test_it.py").write_text(code)
    return str(folder), "-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider"


@pytest.fixture
def without_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all linters from the command."""
    monkeypatch.setattr(command, "CHECKS", {})
    monkeypatch.setenv(command.COVERAGE_VARIABLE, "")  # registers the variable with monkeypatch, which restores it


@pytest.mark.usefixtures("without_checks")
def test_both_phases_run_and_the_output_ends_with_their_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = {
        "first": phase(tmp_path / "a", "def test_one(): assert False\ndef test_two(): pass"),
        "second": phase(
            tmp_path / "b", "import pytest\n@pytest.mark.skip\ndef test_three(): pass\ndef test_four(): pass"
        ),
    }
    monkeypatch.setattr(command, "PHASES", phases)
    result = CliRunner().invoke(command.test, [])
    assert result.exit_code == 1
    *_, failure, steps, summary = result.output.splitlines()
    assert failure.startswith("FAILED")
    assert failure.endswith("test_it.py::test_one")
    assert steps == "Of 2 steps these failed: first."
    assert summary.startswith("1 failed, 2 passed, 1 skipped in ")


@pytest.mark.usefixtures("without_checks")
def test_domain_coverage_is_printed_and_a_run_without_failures_exits_with_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport tests, workflows.money\ndef test_one(): pass"
    monkeypatch.setattr(command, "PHASES", {"only": phase(tmp_path / "a", code)})
    result = CliRunner().invoke(command.test, [])
    assert result.exit_code == 0, result.output
    *_, coverage, summary = result.output.splitlines()
    assert "% covered" in coverage
    assert not coverage.startswith("workflows: 0.0")
    assert summary.startswith("1 passed in ")


def test_tests_that_start_stacks_run_only_in_the_second_phase() -> None:
    parallel, with_stacks = command.PHASES.values()
    for folder in command.WITH_STACKS:
        assert (ROOT / folder).is_dir()
        assert f"--ignore={folder}" in parallel
        assert folder in with_stacks
    assert "loadgroup" in with_stacks  # otherwise each process would start a stack of each kind


MODULE = """
import pytest, sys
def test_short(): assert not sys.dont_write_bytecode
@pytest.mark.long
def test_long(): pass
"""


@pytest.mark.parametrize("words", [(), ("-m", "long")])
def test_long_tests_run_only_if_their_mark_is_selected(
    tmp_path: Path, words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    options = ("-o", "markers=long", *phase(tmp_path / "a", MODULE))
    result = CliRunner(env={"PYTHONDONTWRITEBYTECODE": "1"}).invoke(command.test, ["-v", *options, *words])
    assert result.exit_code == 0
    said = capfd.readouterr().out
    assert "1 passed, 1 deselected" in said
    assert ("::test_long" in said, "::test_short" in said) == (bool(words), not words)
