"""Declare each error answer once: repeated, they were three fifths of the OpenAPI document."""

from typing import Any

from api.media_types import JSON
from api.openapi.walk import operations

FIRST_ERROR = 400
ERROR = {"$ref": "#/components/schemas/ErrorOut"}


def share_errors(document: dict[str, Any]) -> None:
    """Replace the error answers of every operation by references.

    Their headers and examples must be complete.

    Raises ``ValueError`` if answers with the same errors differ in anything else.
    """
    shared: dict[str, Any] = {}
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) >= FIRST_ERROR:
                # Errors are JSON, even those of a stream; FastAPI gives them the media type of the route.
                examples = answer["content"][JSON]["examples"]
                answer["content"] = {JSON: {"schema": ERROR, "examples": examples}}
                name = "Or".join(examples)
                if shared.setdefault(name, answer) != answer:
                    raise ValueError(f"two answers are called {name}")
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    document["components"]["responses"] = dict(sorted(shared.items()))
