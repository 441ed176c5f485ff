"""The OpenAPI document as the application publishes it, made once per test process."""

from functools import cache
from typing import Any

import pytest

from api.app import create_app
from api.routes.documentation import document_of
from workflows.settings import Settings

UNUSED = "postgresql://nobody@127.0.0.1:1/none"


@cache
def published_document() -> dict[str, Any]:
    """Return the document. It is shared: do not change it."""
    settings = Settings.model_validate(
        {"database_url": UNUSED, "broker_url": "redis://127.0.0.1:1/0", "secret_key": "of a test"}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.app.configure_logs", lambda _level: None)  # it would take the test run's own logs away
        return document_of(create_app(settings), settings)


def resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return what ``node`` refers to, or ``node`` itself where it is no reference."""
    reference = node.get("$ref")
    if reference is None:
        return node
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return resolved(document, found)
