"""Documentation that is rendered from the code, so that it cannot say something else than the code does.

One module per thing that is shown, each with one function from nothing to Markdown; ``pages`` knows where each stands.
Unlike the rest of ``mpac`` these modules import the product: only `mpac docs` and its test load them.
"""
