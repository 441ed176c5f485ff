"""Tests that share a stack run in one process."""

from pathlib import Path

import pytest

from tests.stack_groups import group_of

pytest_plugins = ("pytester",)
ROOT = Path(__file__).parents[2]


def groups(folder: str) -> dict[str, str]:
    """Return the group of each test module of a folder, by file name."""
    paths = (ROOT / folder).glob("test_*.py")
    return {path.name: group_of(f"{folder}/{path.name}::test_it") for path in paths}


def test_modules_with_the_same_kind_of_stack_are_one_group() -> None:
    found = groups("tests/chaos")
    assert found["test_killed_payments.py"] == found["test_killed_refunds.py"]
    assert found["test_faults_of_workers.py"] == found["test_faults_of_beat.py"]
    assert found["test_faults_of_messages.py"] == found["test_faults_of_the_provider.py"]
    assert 3 < len(set(found.values())) < len(found)


def test_journeys_share_a_stack_and_each_demonstration_starts_its_own() -> None:
    found = groups("tests/e2e")
    assert found["test_journeys.py"] == found["test_table_service.py"] == found["test_secrets.py"]
    assert found["test_guides.py"] != found["test_journeys.py"]
    assert group_of("tests/e2e/test_demo.py::test_one") != group_of("tests/e2e/test_demo.py::test_two")


def test_other_tests_are_grouped_by_module() -> None:
    assert group_of("tests/unit/test_it.py::test_one[a::b]") == "tests/unit/test_it.py"


def test_the_scheduler_gives_a_group_to_one_process(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    module = "import pytest\n@pytest.mark.parametrize('n', range(6))\ndef test_it(n): pass"
    pytester.makepyfile(test_a=module, test_b=module)
    words = ("-p", "tests.stack_groups", "-n", "2", "--dist", "loadgroup", "-v", "-p", "no:cacheprovider")
    result = pytester.runpytest_subprocess(*words)
    result.assert_outcomes(passed=12)
    passed = [line.partition("::")[0].split() for line in result.outlines if " PASSED " in line]
    assert len({(words[0], words[-1]) for words in passed}) == 2, passed  # two pairs of process and module
