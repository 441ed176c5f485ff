"""Paragraphs, faults, invariants, decisions and files that code, comments and documents refer to exist."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mpac.stack.state_folder import ROOT
from workflows.invariants.rules import RULES

CONTRACT = ROOT / "docs" / "contract"
DECISIONS = ROOT / "docs" / "decisions"
SEARCHED = ("api", "workers", "workflows", "beat", "mpac", "sandbox", "benchmarks", "migrations", "tests", "docs")

PARAGRAPH = re.compile(r"[Bb]ehaviour(?:\.md)? §(\d+)")
FAULT = re.compile(r"\bF([1-9]\d?)\b")
INVARIANT = re.compile(r"\bI([1-9]\d?)\b")
DECISION = re.compile(r"decisions?[/ ](\d{4})")
PATH = re.compile(r"`((?:api|workers|workflows|beat|mpac|sandbox|benchmarks|migrations|tests|docs)/[\w/.-]*\w)`")


@cache
def sources() -> tuple[tuple[str, str], ...]:
    """Return the name and text of every source file and page."""
    files = [path for folder in SEARCHED for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md")]
    files += [*ROOT.glob("*.md"), ROOT / "run.py"]
    return tuple((path.relative_to(ROOT).as_posix(), path.read_text()) for path in sorted(files))


def cited(pattern: re.Pattern[str], *, skip: str) -> Iterator[tuple[str, str]]:
    """Yield each citation of ``pattern`` with its file, except in the page ``skip`` that defines it."""
    for name, text in sources():
        if name not in (skip, "tests/unit/docs/test_references.py"):
            for found in pattern.findall(text):
                yield found, name


@pytest.mark.parametrize(
    ("pattern", "page", "defined"),
    [
        (PARAGRAPH, "behaviour.md", r"^## §(\d+) "),
        (FAULT, "faults.md", r"^\| F(\d+) \|"),
        (INVARIANT, "invariants.md", r"^\| I(\d+) \| [A-Z]"),
    ],
    ids=["behaviour", "faults", "invariants"],
)
def test_every_cited_item_of_the_contract_is_defined_there(pattern: re.Pattern[str], page: str, defined: str) -> None:
    known = set(re.findall(defined, (CONTRACT / page).read_text(), re.MULTILINE))
    citations = list(cited(pattern, skip=f"docs/contract/{page}"))
    assert citations, "the pattern finds nothing any more"
    unknown = [f"{name}: {number}" for number, name in citations if number not in known]
    assert not unknown


def test_every_rule_checks_an_invariant_of_the_contract() -> None:
    page = (CONTRACT / "invariants.md").read_text()
    assert {rule.invariant for rule in RULES} <= set(re.findall(r"^\| (I\d+) \| [A-Z]", page, re.MULTILINE))


def numbers_of_decisions() -> set[str]:
    """Return the numbers of decisions that have a file, or a section about a library."""
    sections = re.findall(r"^## (\d{4}): ", (DECISIONS / "dependencies.md").read_text(), re.MULTILINE)
    files = [path.name[:4] for path in DECISIONS.glob("[0-9]*.md")]
    assert len(set(files + sections)) == len(files + sections), "two decisions have one number"
    return {*files, *sections}


def test_every_cited_decision_exists() -> None:
    known = numbers_of_decisions()
    citations = list(cited(DECISION, skip=""))
    assert citations
    assert not [f"{name}: {number}" for number, name in citations if number not in known]


def test_the_index_lists_every_decision() -> None:
    listed = re.findall(r"^\| (\d{4}) \| \[", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == listed
    assert set(listed) == numbers_of_decisions()


def test_every_file_named_in_a_page_exists() -> None:
    missing = [
        f"{name}: {path}"
        for name, text in sources()
        if name.endswith(".md")
        for path in PATH.findall(text)
        if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()
    ]
    assert not missing


def test_the_index_of_the_documents_lists_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "index.md"]
    assert not [page for page in pages if f"]({page})" not in index]


@pytest.mark.parametrize("page", sorted(CONTRACT.glob("*.md")), ids=lambda page: Path(page).name)
def test_the_contract_points_to_no_page_outside_the_repository(page: Path) -> None:
    outside = [path for path in re.findall(r"\]\(([^)#]+)", page.read_text()) if not (page.parent / path).exists()]
    assert not outside
