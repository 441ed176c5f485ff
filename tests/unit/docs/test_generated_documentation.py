"""Generated documentation is up to date and complete, and its links resolve."""

import re
from pathlib import Path

import pytest

from mpac.cli.errors import UserError
from mpac.devtools.documentation.insert_sections import pages, replace_section
from mpac.devtools.documentation.statuses import ENTITIES, diagram
from mpac.devtools.documentation.tables import render_configuration, render_errors
from mpac.stack.state_folder import ROOT
from workflows.errors import every_error
from workflows.settings import Settings
from workflows.state_machine import StateMachine, member_comments

MARKDOWN = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MACHINES = [machine for machine, _ in ENTITIES]
LINK = re.compile(r"\]\((?!https?://|#)(?P<path>[^)#]+)")


def test_generated_documentation_is_up_to_date() -> None:
    drifted = [page.name for page in pages(ROOT) if page.has_drifted]
    assert not drifted, "run `python3 run.py docs` and look at what changed"


def test_manual_edit_of_a_generated_part_is_replaced() -> None:
    text = "before\n<!-- generated: x -->\nby hand\n<!-- end: x -->\nafter"
    assert replace_section(text, "x", "by code", name="README.md") == text.replace("by hand", "by code")


def test_file_without_its_markers_raises_an_error_with_advice() -> None:
    with pytest.raises(UserError, match=r"README\.md lacks the markers"):
        replace_section("nothing here", "x", "by code", name="README.md")


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: str(machine.name))
def test_a_diagram_shows_every_edge_and_every_status(machine: StateMachine) -> None:
    drawn = diagram(machine)
    for edge in machine.transitions:
        assert f"{edge.source} --> {edge.target}: {edge.event}" in drawn
    assert all(str(status) in drawn for status in machine.statuses)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: str(machine.name))
def test_every_status_and_remark_has_a_meaning(machine: StateMachine) -> None:
    words = [*machine.statuses, *machine.remarks]
    for kind in {type(word) for word in words}:
        said = member_comments(kind)
        assert set(said) == {str(word) for word in words if type(word) is kind}
        assert all(said.values())


def test_tables_list_every_error_and_every_setting() -> None:
    errors, configuration = render_errors(), render_configuration()
    assert all(f"`{error.code}`" in errors for error in every_error())
    assert all(f"`MPAC_{name.upper()}`" in configuration for name in Settings.model_fields)


@pytest.mark.parametrize("file", MARKDOWN, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_in_the_documentation_resolves(file: Path) -> None:
    broken = [path for path in LINK.findall(file.read_text()) if not (file.parent / path).exists()]
    assert not broken


def test_a_decision_is_five_short_lines() -> None:
    folder = ROOT / "docs" / "decisions"
    texts = {file.name: file.read_text() for file in folder.glob("[0-9]*.md")}
    libraries = re.split(r"^## ", (folder / "dependencies.md").read_text(), flags=re.MULTILINE)[1:]
    for name, text in {**texts, **{library[:4]: library for library in libraries}}.items():
        parts = re.findall(r"^- \*\*(\w+)\*\*: ", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequence", "Rejected", "Date"], name
