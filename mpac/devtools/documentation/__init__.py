"""Render documentation from the code, so that the two can't disagree.

Each module renders one kind of content as Markdown, by functions without arguments. ``insert_sections`` knows where each text
belongs. Unlike the rest of ``mpac`` these modules import the product, so only `mpac docs` and its test load them.
"""
