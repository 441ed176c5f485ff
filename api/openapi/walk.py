"""Iterate over an OpenAPI document: its operations, and the objects of its structure."""

from collections.abc import Iterator
from typing import Any

METHODS = ("get", "put", "post", "patch", "delete")
VALUES = frozenset({"example", "examples", "default", "const", "enum", "value"})
"""Keywords whose content is a value of the API rather than a part of the document's structure."""

NAMED = frozenset({"properties", "schemas", "headers", "responses", "$defs", "patternProperties"})
"""Keywords whose content has free names: a property may be called ``default``."""


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the method and the object of each operation."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def objects(node: Any, *, is_named: bool = False) -> Iterator[dict[str, Any]]:
    """Yield ``node`` and every object below it, without examples, defaults and other values."""
    if isinstance(node, list):
        for one in node:
            yield from objects(one)
    elif isinstance(node, dict):
        if not is_named:
            yield node
        for name, one in node.items():
            if is_named or name not in VALUES:
                yield from objects(one, is_named=name in NAMED and not is_named)
