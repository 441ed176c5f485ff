"""docs/contract/api.md names for every route the lowest role that may call it."""

import re

import pytest

from mpac.stack.state_folder import ROOT
from tests.integration.tenants.routes import LEAST, OPEN

SECTION = (ROOT / "docs/contract/api.md").read_text().partition("## Who may call what")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (`/[^|]+) \| ([^|]+) \|", SECTION, re.MULTILINE)
ROLES = {
    re.sub(r"\{\w+\}", "{}", path): OPEN if role.startswith("none") else re.findall(r"[a-z_]+", role)[0]
    for paths, role in ROWS
    for path in re.findall(r"`(/[^`]+)`", paths)
}
"""Beginning of a path, with ``{}`` for each id → the lowest role that the page's table names for it."""


@pytest.mark.parametrize("route", LEAST)
def test_page_names_the_lowest_role_of_the_route(route: str) -> None:
    path = re.sub(r"\{\w+\}", "{}", route.partition(" ")[2])
    beginnings = [beginning for beginning in ROLES if path == beginning or path.startswith(f"{beginning}/")]
    assert beginnings, "add the route to the table in docs/contract/api.md"
    assert ROLES[max(beginnings, key=len)] == LEAST[route]


def test_page_names_no_route_that_is_gone() -> None:
    paths = [re.sub(r"\{\w+\}", "{}", route.partition(" ")[2]) for route in LEAST]
    assert [each for each in ROLES if not any(f"{path}/".startswith(f"{each}/") for path in paths)] == []
