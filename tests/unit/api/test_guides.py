"""The guides as web pages have working links, and their Markdown produces only text, tables, code and links."""

import re
from pathlib import Path

import pytest

from api import guides
from api.guides import GUIDES, list_guides, read_guide, render_markdown


def hrefs(page: str) -> list[str]:
    return re.findall(r'href="([^"]*)"', page)


def test_every_listed_guide_exists() -> None:
    assert list(list_guides()) == list(GUIDES)
    assert read_guide("elsewhere") is None
    assert read_guide("../README") is None


@pytest.mark.parametrize("name", GUIDES)
def test_every_link_in_a_guide_leads_to_an_existing_page_and_anchor(name: str) -> None:
    page = read_guide(name)
    assert page
    assert "<h1" in page
    assert "generated:" not in page, "comments for `mpac docs` are not shown"
    for href in hrefs(page):
        if href in ("/", "/docs/favicon.png") or href.startswith(("https://", "http://")):
            continue
        target, _, anchor = href.partition("#")
        other = read_guide(target.rpartition("/")[2]) if target else page
        assert other, href
        assert not anchor or f'id="{anchor}"' in other, href


HOSTILE = """<script>alert(1)</script> [a](javascript:alert(1)) ![b](https://x/y.png) <img src=x onerror=y>
[c](data:text/html,x) <a href="x">d</a> [readme](../README.md) [e](terminal.md#lost) `<b>` "q"
"""


def test_raw_html_in_markdown_is_escaped() -> None:
    page = render_markdown(HOSTILE)
    assert re.findall(r"<(\w+)", page) == ["p", "a", "a", "code"]
    assert hrefs(page) == ["/docs/guides/terminal#lost"]
    assert "<a>readme</a>" in page


def test_an_installation_without_guides_lists_no_guides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guides, "FOLDER", tmp_path)
    read_guide.cache_clear()
    assert list_guides() == {}
    assert read_guide("terminal") is None
    read_guide.cache_clear()
