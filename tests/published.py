"""The OpenAPI document that the application publishes, built once per test process."""

from typing import Any

from mpac.devtools.documentation.contract import published_document

__all__ = ["published_document", "resolved"]


def resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return the target of a ``$ref`` node, or ``node`` itself if it is not a reference."""
    reference = node.get("$ref")
    if reference is None:
        return node
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return resolved(document, found)
