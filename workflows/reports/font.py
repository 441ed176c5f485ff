"""The font of reports: from a wheel, and of it only the characters that a page uses.

A report is looked at on machines whose fonts nobody knows, by people whose names it has to spell. Cutting the font down is
processor work of half a second: whoever asks for it does so in a thread, and one at a time in a process.
"""

import asyncio
import io
import logging
from functools import cache
from importlib.resources import files

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

logging.getLogger("fontTools").setLevel(logging.ERROR)  # it tells of every table it leaves out of a subset

FONT_PACKAGE, FONT_FILE = "noto_cjk_sans_jp_regular", "NotoSansCJKjp-Regular.otf"


@cache
def font_path() -> str:
    """Where the font is installed."""
    return str(files(FONT_PACKAGE) / FONT_FILE)


@cache
def render_lock() -> asyncio.Lock:
    """Held by whoever draws: two reports at once would take both processors from the terminals' requests."""
    return asyncio.Lock()


def cut_font(characters: str) -> bytes:
    """A WOFF font of ``characters`` alone, for a page of HTML."""
    options = Options()
    options.layout_features = []  # no ligatures, no vertical writing: they would bring hundreds of further glyphs
    options.flavor = "woff"
    subsetter = Subsetter(options)
    subsetter.populate(text=characters)
    with TTFont(font_path(), lazy=True) as font:
        subsetter.subset(font)
        font.flavor = "woff"
        written = io.BytesIO()
        font.save(written)
    return written.getvalue()
