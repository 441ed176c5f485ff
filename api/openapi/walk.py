"""Iterate over the operations and the objects of an OpenAPI document."""

from collections.abc import Iterator
from typing import Any

METHODS = ("get", "put", "post", "patch", "delete")
VALUES = frozenset({"example", "examples", "default", "const", "enum", "value"})
"""Keywords whose content is example data rather than a part of the document's structure."""

NAMED = frozenset({"properties", "schemas", "headers", "responses", "$defs", "patternProperties"})
"""Keywords whose content maps names to objects. A name may equal a keyword: a property may be called ``default``."""


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the method and the object of each operation."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def objects(node: Any, *, is_named: bool = False) -> Iterator[dict[str, Any]]:
    """Yield ``node`` and every object below it, except examples, defaults and other values.

    ``is_named``: ``node`` is the content of a keyword in ``NAMED``.
    """
    if isinstance(node, list):
        for item in node:
            yield from objects(item)
    elif isinstance(node, dict):
        if not is_named:
            yield node
        for name, child in node.items():
            if is_named or name not in VALUES:
                yield from objects(child, is_named=name in NAMED and not is_named)
