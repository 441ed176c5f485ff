"""Load the font of reports from a wheel, reduced to the characters that a report uses.

Reports contain names in Japanese, and are opened on machines whose fonts are unknown. Reducing the font is half a second of
CPU work, so it runs in a thread, and only one at a time in a process (``render_lock``).
"""

import asyncio
import io
import logging
from functools import cache
from importlib.resources import files

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

logging.getLogger("fontTools").setLevel(logging.ERROR)  # it logs every table that it leaves out of a subset

FONT_PACKAGE, FONT_FILE = "noto_cjk_sans_jp_regular", "NotoSansCJKjp-Regular.otf"


@cache
def font_path() -> str:
    """Return the path of the installed font."""
    return str(files(FONT_PACKAGE) / FONT_FILE)


@cache
def render_lock() -> asyncio.Lock:
    """Return the lock to hold while rendering.

    Two reports at a time would take both CPUs from terminals' requests.
    """
    return asyncio.Lock()


def subset_font(characters: str) -> bytes:
    """Return a WOFF font that has only these characters, for an HTML page."""
    options = Options()
    options.layout_features = []  # no ligatures or vertical writing, which add hundreds of glyphs
    options.flavor = "woff"
    subsetter = Subsetter(options)
    subsetter.populate(text=characters)
    with TTFont(font_path(), lazy=True) as font:
        subsetter.subset(font)
        font.flavor = "woff"
        written = io.BytesIO()
        font.save(written)
    return written.getvalue()
