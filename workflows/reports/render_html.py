"""Render a report as one self-contained HTML page, for screens and for printing from a browser.

The font is embedded, as in the PDF, because some machines have no Japanese font.
"""

import asyncio
import base64
from html import escape

from workflows.reports.compose import ReportColumn, ReportDocument, ReportSection, ReportTable
from workflows.reports.font_subset import render_lock, subset_font

STYLE = """
body { font: 14px/1.5 report, "Noto Sans CJK JP", "Noto Sans JP", "Hiragino Sans", "Yu Gothic", Meiryo, sans-serif;
       color: #1c1c1c; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin: 0; } h1 + p { font-size: 1.2rem; margin: .2rem 0 1.2rem; color: #444; }
h2 { font-size: 1.05rem; margin: 1.8rem 0 .5rem; padding-bottom: .2rem; border-bottom: 2px solid #1c1c1c; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.5rem; margin: 0; }
dt { color: #555; } dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
.l { overflow-wrap: anywhere; }
th { border-bottom: 1px solid #1c1c1c; font-weight: 600; white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tfoot td { border-top: 1px solid #1c1c1c; border-bottom: 0; font-weight: 600; }
p.remark { color: #555; margin: .4rem 0; } footer { margin-top: 2.5rem; color: #777; font-size: 12px; }
@page { size: A4 landscape; margin: 14mm; } @media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; } }
"""


LONG = 5
"""A column of this weight or more contains references, which may be broken at any character."""


async def render_html(document: ReportDocument) -> bytes:
    """Return the HTML page in UTF-8."""
    page = _page(document)
    async with render_lock():
        font = await asyncio.to_thread(subset_font, page)
    face = f'@font-face {{ font-family: report; src: url("data:font/woff;base64,{base64.b64encode(font).decode()}"); }}'
    return page.replace("<style>", f"<style>{face}", 1).encode()


def _page(document: ReportDocument) -> str:
    sections = "".join(_section(section) for section in document.sections)
    title = f"{document.title} — {document.store}"
    return f"""<!doctype html>
<html lang="{document.language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{STYLE}</style></head>
<body><h1>{escape(document.title)}</h1><p>{escape(document.store)}</p>
{_fields(document.fields)}{sections}<footer>{escape(document.footer)}</footer></body></html>
"""


def _section(section: ReportSection) -> str:
    remark = f'<p class="remark">{escape(section.remark)}</p>' if section.remark else ""
    table = _table(section.table) if section.table else ""
    return f"<section><h2>{escape(section.title)}</h2>{_fields(section.fields)}{table}{remark}</section>\n"


def _fields(fields: list[tuple[str, str]]) -> str:
    if not fields:
        return ""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in fields) + "</dl>"


def _table(table: ReportTable) -> str:
    kinds = [_kind(column) for column in table.columns]
    head = _row([column.title for column in table.columns], kinds, cell="th")
    body = "".join(_row(row, kinds) for row in table.rows)
    foot = f"<tfoot>{_row(table.sums, kinds)}</tfoot>" if table.sums else ""
    return f"<table><thead>{head}</thead><tbody>{body}</tbody>{foot}</table>"


def _kind(column: ReportColumn) -> str:
    """Return the class attribute of a column's cells: ``n`` for numbers, ``l`` for references, else none."""
    return " class=n" if column.is_number else " class=l" if column.weight >= LONG else ""


def _row(cells: list[str], kinds: list[str], *, cell: str = "td") -> str:
    drawn = (f"<{cell}{kind}>{escape(text)}</{cell}>" for text, kind in zip(cells, kinds, strict=True))
    return f"<tr>{''.join(drawn)}</tr>"
