"""The template of all HTML pages: the landing page, the guides and the API documentation."""

from html import escape

ICON = "/docs/favicon.png"

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{icon}">
{head}
</head>
<body>
{body}
</body>
</html>
"""


def html_page(title: str, *, head: str, body: str) -> str:
    """Return an HTML document. ``title`` is text; ``head`` and ``body`` are HTML."""
    return PAGE.format(title=escape(title), icon=ICON, head=head, body=body)
