"""The coverage measurement records statements and branches that did not run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.branch_coverage import FOLDER_VARIABLE, ROOT, TABLE, Plan, report

CODE = '''
"""A docstring is no statement."""
from __future__ import annotations

def sign(number: int) -> str:
    """Return the sign."""
    if number > 0:
        return "+"
    elif number < 0:
        return "-"
    return ""

def first(values: list[int]) -> int:
    for value in values:
        return value
    while True:
        break
    return 0

def kind(value: object) -> str:
    match value:
        case int():
            return "int"
    return "other"
'''


def missing_after(*calls: str, code: str = CODE) -> list[str]:
    """Return the missing points of ``code`` after running ``calls``."""
    plan = Plan(code, "code.py")
    table = bytearray(plan.size)
    variables = {TABLE: table}
    exec(compile(plan.tree, "code.py", "exec"), variables)
    for call in calls:
        eval(call, variables)
    return [str(point) for point in plan.missing(bytes(table))]


def test_fully_covered_code_has_no_missing_points() -> None:
    calls = ("sign(1)", "sign(-1)", "sign(0)", "first([1])", "first([])", "kind(1)", "kind('x')")
    assert missing_after(*calls) == []


def test_a_branch_that_never_ran_is_reported_with_its_condition() -> None:
    missing = missing_after("sign(1)", "first([1])", "kind(1)")
    assert missing == ["7→9", "10", "11", "14→past", "16", "17", "18", "21→past", "24"]


def test_a_function_that_never_ran_is_reported_by_its_lines() -> None:
    assert missing_after("first([1])", "first([])", "kind(1)", "kind('x')") == ["7", "8", "9", "10", "11"]


EXPLAINED = """
def parse(text):
    try:
        return int(text)
    except ValueError:  # untested: a reason
        if text == "":
            return 0
        return -1

def sign(number):
    if number > 0:  # untested: another reason
        return "+"
    return "-"

def kind(value):
    match value:
        case 1:
            return "one"
        case 2:  # untested: the last reason
            return "two"
    return "other"
"""


def test_a_handler_a_statement_and_a_case_with_a_reason_are_not_named() -> None:
    assert missing_after("parse('1')", "sign(-1)", "kind(1)", "kind(3)", code=EXPLAINED) == []
    without = EXPLAINED.replace("# untested:", "#")
    missing = missing_after("parse('1')", "sign(-1)", "kind(1)", "kind(3)", code=without)
    assert missing == ["6", "7", "8", "11→12", "16→20"]


def test_processes_that_the_tests_start_are_measured_up_to_the_moment_they_are_killed(tmp_path: Path) -> None:
    code = "from workflows.money import exponent; print('imported', flush=True); input()"
    path = os.pathsep.join((str(ROOT / "tests" / "coverage_hook"), str(ROOT)))
    for _ in range(2):  # the second finds the stored code of the first
        with subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, FOLDER_VARIABLE: str(tmp_path), "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout
            assert process.stdout.readline() == b"imported\n"
            process.send_signal(signal.SIGKILL)
    module = ROOT / "workflows" / "money.py"
    table = tmp_path / "workflows.money.py.table"
    statements, of_statements, _, _ = Plan(module.read_bytes(), str(module)).count(table.read_bytes())
    assert 0 < statements < of_statements
    assert "workflows/money.py: " in report(tmp_path)
