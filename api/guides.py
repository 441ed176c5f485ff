"""Serve the guides of ``docs/`` as web pages.

A guide is rendered from the committed file by ``markdown-it-py`` without raw HTML, so that a page contains only text, tables,
code and links. Links between guides are kept; a link to a file that is not served becomes text.
"""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from api.html_page import html_page

FOLDER = Path(__file__).resolve().parents[1] / "docs"
PATH = "/docs/guides"
GUIDES = {
    "terminal": "Write a terminal: tokens, payments, lost answers, refunds",
    "statuses": "Statuses of payments, refunds, orders, bills and settlements",
    "reconciliation": "Settlements, statements and breaks",
    "sandbox": "The sandbox provider and its faults",
    "operations": "Operate an installation",
}
"""Name of a guide → its subject, in the order in which the landing page lists them."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #8882; }
body { font: 1rem/1.6 system-ui, sans-serif; max-width: 50rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; }
a { color: light-dark(#0b57d0, #9ec1ff); }
code, pre { font: .9em/1.5 ui-monospace, monospace; background: var(--faint); border-radius: .25rem; }
code { padding: .1em .3em; }
pre { padding: .75rem; overflow-x: auto; overflow-wrap: normal; }
pre code { padding: 0; background: none; }
.table { overflow-x: auto; }
table { border-collapse: collapse; overflow-wrap: normal; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
li { margin: .3rem 0; }
footer, .faint { opacity: .75; }
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'; img-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The content security policy: no scripts, and no style except ``STYLE``."""

_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_OTHER = re.compile(r"[^\w\- ]")


def styled_page(title: str, body: str) -> str:
    """Return a page in the style of the guides. ``title`` is text, ``body`` is HTML."""
    return html_page(title, head=f"<style>{STYLE}</style>", body=body)


def list_guides() -> dict[str, str]:
    """Return the names and subjects of the installed guides. An installation may have none."""
    return {name: about for name, about in GUIDES.items() if _file(name).is_file()}


@cache
def read_guide(name: str) -> str | None:
    """Return the page of a guide, or ``None`` if there is no guide of this name."""
    if name not in GUIDES or not _file(name).is_file():
        return None
    body = render_markdown(_COMMENT.sub("", _file(name).read_text(encoding="utf-8")))
    return styled_page(
        f"{name.capitalize()} - MPAC SmartPOS Payments", f'<p><a href="/">MPAC SmartPOS Payments</a></p>\n{body}'
    )


def render_markdown(text: str) -> str:
    """Render Markdown as HTML, with anchors at headings and without links to files that are not served."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    for token, following in pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", _anchor(following.content))
    for token in tokens:
        token.children = [_resolve_link(child) for child in token.children or ()] if token.children else token.children
    html: str = parser.renderer.render(tokens, parser.options, {})
    return html.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")


def _file(name: str) -> Path:
    return FOLDER / f"{name}.md"


def _anchor(heading: str) -> str:
    """Return the anchor of a heading, formed as GitHub does."""
    return _OTHER.sub("", heading.lower()).replace(" ", "-")


def _resolve_link(token: Token) -> Token:
    """Rewrite a link token to the address of the guide; remove the address if the target is not served."""
    if token.type == "image":
        return Token("text", "", 0, content=token.content)
    if token.type != "link_open":
        return token
    target, _, anchor = str(token.attrGet("href")).partition("#")
    name = target.removesuffix(".md")
    if not target or target.startswith(("https://", "http://")):
        return token
    if name in GUIDES:
        token.attrSet("href", f"{PATH}/{name}" + (f"#{anchor}" if anchor else ""))
    else:
        token.attrs.pop("href")  # a link without an address is text
    return token
