"""The OpenAPI document as the application publishes it, made once per test process."""

from typing import Any

from mpac.devtools.documentation.contract import published_document

__all__ = ["published_document", "resolved"]


def resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return what ``node`` refers to, or ``node`` itself if it is not a reference."""
    reference = node.get("$ref")
    if reference is None:
        return node
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return resolved(document, found)
