"""docs/tests.md names only test modules and files that exist."""

import re

from mpac.stack.state_folder import ROOT

PAGE = (ROOT / "docs/tests.md").read_text()
MODULES = re.findall(r"`((?:unit|integration|chaos|e2e)/[\w/]+)`", PAGE)
FAULTS = PAGE.partition("## Where each fault is tested")[2].partition("\n## ")[0]
FILES = re.findall(r"`(tests/[\w/]+(?:\.py)?)`", PAGE)


def test_every_module_named_on_the_page_of_tests_exists() -> None:
    assert len(MODULES) > 20
    assert [module for module in MODULES if not (ROOT / "tests" / f"{module}.py").is_file()] == []


def test_every_path_named_on_the_page_of_tests_exists() -> None:
    assert len(FILES) > 10
    assert [path for path in FILES if not (ROOT / path).exists()] == []


def test_every_fault_of_the_contract_has_a_row() -> None:
    contract = re.findall(r"^\| (F\d+) \|", (ROOT / "docs/contract/faults.md").read_text(), re.MULTILINE)
    rows = re.findall(r"^\| ((?:F\d+(?:, )?)+) \|", FAULTS, re.MULTILINE)
    assert sorted(", ".join(rows).split(", ")) == sorted(contract)
    assert len(contract) == 36
