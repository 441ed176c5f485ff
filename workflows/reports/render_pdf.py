"""Render a report as a PDF with an embedded font, so that Japanese names print correctly everywhere.

Only the characters used are embedded (ten to forty kilobytes). Rendering is about a second of CPU work, so it runs in a
thread, and only one at a time in a process, to leave the CPUs to terminals' requests.
"""

import asyncio

from fpdf import FPDF
from fpdf.enums import TableBordersLayout, TextEmphasis
from fpdf.fonts import FontFace

from workflows.reports.compose import ReportDocument, ReportSection, ReportTable
from workflows.reports.font_subset import font_path, render_lock

FAMILY = "noto"
MARGIN, LABEL_WIDTH = 14, 42  # mm
TITLE, HEADING, TEXT, SMALL = 18, 11, 9, 7.5  # points
LINE = 1.6  # mm of line height per point of text, roughly 1.5 lines
GREY, BLACK = 110, 25


class _Page(FPDF):
    """A landscape A4 document with the report's footer and the page number on each page."""

    def __init__(self, footer: str) -> None:
        super().__init__(orientation="landscape", format="A4")
        self._footer = footer
        self.add_font(FAMILY, fname=font_path())
        self.set_margin(MARGIN)
        self.set_auto_page_break(auto=True, margin=MARGIN + 4)

    def footer(self) -> None:
        """Write the footer; the library calls this at the end of each page."""
        self.set_y(-MARGIN)
        self.set_font(FAMILY, size=SMALL)
        self.set_text_color(GREY)
        self.cell(0, 5, f"{self._footer} · {self.page_no()}/{{nb}}", align="R")


async def render_pdf(document: ReportDocument) -> bytes:
    """Return the PDF file."""
    async with render_lock():
        return await asyncio.to_thread(_draw, document)


def _draw(document: ReportDocument) -> bytes:
    page = _Page(document.footer)
    page.set_title(f"{document.title} — {document.store}")
    page.set_lang(document.language)
    page.add_page()
    _text(page, document.title, size=TITLE)
    _text(page, document.store, size=HEADING + 2)
    page.ln(3)
    _fields(page, document.fields)
    for section in document.sections:
        _section(page, section)
    return bytes(page.output())


def _section(page: _Page, section: ReportSection) -> None:
    if page.will_page_break(24):  # so that a heading does not stand alone at the end of a page
        page.add_page()
    page.ln(5)
    _text(page, section.title, size=HEADING)
    page.set_draw_color(BLACK)
    page.line(page.l_margin, page.get_y(), page.w - page.r_margin, page.get_y())
    page.ln(1.5)
    _fields(page, section.fields)
    if section.table:
        _table(page, section.table)
    if section.remark:
        page.ln(1)
        _text(page, section.remark, size=TEXT, colour=GREY)


def _text(page: _Page, text: str, *, size: float, colour: int = BLACK) -> None:
    page.set_font(FAMILY, size=size)
    page.set_text_color(colour)
    page.multi_cell(0, size * LINE / 3, text, align="L", new_x="LMARGIN", new_y="NEXT")


def _fields(page: _Page, fields: list[tuple[str, str]]) -> None:
    for name, value in fields:
        page.set_font(FAMILY, size=TEXT)
        page.set_text_color(GREY)
        page.cell(LABEL_WIDTH, TEXT * LINE / 3, name)
        page.set_text_color(BLACK)
        page.multi_cell(0, TEXT * LINE / 3, value, align="L", new_x="LMARGIN", new_y="NEXT")


def _table(page: _Page, table: ReportTable) -> None:
    page.set_font(FAMILY, size=SMALL)
    page.set_text_color(BLACK)
    page.set_draw_color(GREY)
    with page.table(
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        col_widths=tuple(column.weight for column in table.columns),
        text_align=tuple("RIGHT" if column.is_number else "LEFT" for column in table.columns),
        headings_style=FontFace(emphasis=TextEmphasis.NONE, fill_color=(238, 238, 238)),
        line_height=SMALL * LINE / 2.6,
        padding=0.8,
    ) as drawn:
        for cells in [[column.title for column in table.columns], *table.rows, *([table.sums] if table.sums else [])]:
            drawn.row(cells)
