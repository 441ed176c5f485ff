"""The walk in ``docs/architecture.md`` names existing files and is short enough to be read in an hour."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
MOST_FILES = 28
"""The maximum length of the walk. A newcomer reads all files, so a further file has to replace another."""


def walk() -> str:
    """Return the section of ``docs/architecture.md`` that describes the walk."""
    document = (ROOT / "docs/architecture.md").read_text()
    found = re.search(r"^## The walk of a payment\n(.+?)^## ", document, re.MULTILINE | re.DOTALL)
    assert found, "the section is gone"
    return found[1]


def test_every_file_of_the_walk_exists() -> None:
    named = re.findall(r"`(\w+(?:/\w+)+\.py)`", walk())
    assert len(named) > MOST_FILES // 2, "the pattern finds nothing any more"
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_walk_is_numbered_and_has_at_most_28_files() -> None:
    numbers = [int(number) for number in re.findall(r"^(\d+)\. `", walk(), re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) <= MOST_FILES
