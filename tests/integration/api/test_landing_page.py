"""The landing page at `/` links only existing pages, as HTML or JSON, and its policy allows no script."""

import re

import pytest

from api.guides import GUIDES, STYLE
from api.routes.landing_page import _links
from tests.harness import Api


async def test_every_link_of_the_welcome_page_works(api: Api) -> None:
    answer = await api.get("//", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    page = answer.raw.decode()
    links = re.findall(r'<a href="([^"]+)"', page)
    assert {"/docs", "/api/v1/openapi.json", "/health/ready"} < set(links)
    assert {f"/docs/guides/{name}" for name in GUIDES} < set(links)
    assert {(await api.get("/" + link)).status for link in [*links, "/docs/favicon.png"]} == {200}
    assert "flower" not in page.lower(), "its address is not configured here"
    assert "console" not in page.lower(), "there is none yet"


async def test_the_landing_page_needs_no_script_and_nothing_from_other_hosts(api: Api) -> None:
    for path in ("//", "//docs/guides/terminal"):
        answer = await api.get(path)
        page = answer.raw.decode()
        assert "<script" not in page
        assert not re.search(r"\bstyle=|\bon\w+=|src=", page.replace(STYLE, ""))
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "script-src" not in policy
        assert "://" not in policy
        assert 'name="viewport"' in page
        assert "color-scheme: light dark" in page


async def test_a_client_that_prefers_json_gets_the_same_links(api: Api) -> None:
    answer = await api.get("//", headers={"Accept": "application/json"})
    assert (answer.status, answer.headers["Content-Type"], answer.headers["Vary"]) == (
        200,
        "application/json",
        "Accept",
    )
    assert answer.body["links"] == {
        "documentation": "/docs",
        "openapi": "/api/v1/openapi.json",
        "health": "/health/ready",
    }
    assert answer.body["guides"] == {name: f"/docs/guides/{name}" for name in GUIDES}


@pytest.mark.parametrize("url", [None, "https://flower.example/tasks"])
def test_flower_is_linked_only_where_its_address_is_configured(url: str | None) -> None:
    assert [address for name, (address, _) in _links(url) if name == "flower"] == ([url] if url else [])
