"""Render documentation from the code, so that the two can't disagree.

Each module has functions from nothing to Markdown for one kind of content; ``pages`` knows where each is inserted. Unlike the
rest of ``mpac`` these modules import the product: only `mpac docs` and its test load them.
"""
