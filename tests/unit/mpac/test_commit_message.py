"""The commit-msg hook accepts well-formed subjects only, and Git runs it."""

import subprocess
from pathlib import Path

import pytest

from mpac.devtools.commit_message import problems
from mpac.stack.state_folder import ROOT


@pytest.mark.parametrize(
    "message",
    [
        "payments: Reject an unknown method",
        "api, workers: Process requests of both releases",
        "tests/chaos: Bring the broker back sooner\n\nThe reason stands here; with a semicolon.",
        "mpac: Explain a full disk\n# Please enter the commit message for your changes.",
        "payments: " + "X" * 62,
        "Merge branch 'main' into feature",
        "fixup! payments: Reject an unknown method",
    ],
)
def test_well_formed_message_is_accepted(message: str) -> None:
    assert problems(message) == []


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("", "area"),
        ("Reject an unknown method", "area"),
        ("payments: reject an unknown method", "area"),
        ("Payments: Reject an unknown method", "area"),
        ("payments: Added a method", "imperative"),
        ("payments: Fixes a method", "imperative"),
        ("payments: Using a method", "imperative"),
        ("payments: Changing a method", "imperative"),
        ("payments: Reject a method; rename it", "semicolon"),
        ("payments: Reject a method.", "full stop"),
        ("payments: " + "X" * 63, "72"),
        ("payments: Reject a method\nThe body begins too early", "second line"),
    ],
)
def test_malformed_message_is_refused_with_a_hint(message: str, hint: str) -> None:
    assert [problem for problem in problems(message) if hint in problem]


def test_hook_exits_with_1_for_a_malformed_message_only(tmp_path: Path) -> None:
    message = tmp_path / "COMMIT_EDITMSG"
    codes = []
    for text in ("payments: Reject an unknown method", "wip"):
        message.write_text(text)
        codes.append(
            subprocess.run([ROOT / ".githooks" / "commit-msg", message], capture_output=True, check=False).returncode
        )
    assert codes == [0, 1]
