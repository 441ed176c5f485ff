"""Move the error responses of all operations to ``components``, because repeated they were 60 % of the OpenAPI document."""

from typing import Any

from api.media_types import JSON
from api.openapi.walk import operations

FIRST_ERROR = 400
ERROR = {"$ref": "#/components/schemas/ErrorOut"}


def share_errors(document: dict[str, Any]) -> None:
    """Replace the error responses of every operation by references to shared ones.

    Headers and examples must have been added before. Raises ``ValueError`` if two responses have examples of the same errors
    but differ in anything else.
    """
    shared: dict[str, Any] = {}
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) >= FIRST_ERROR:
                # FastAPI declares errors with the media type of the route, but all errors are JSON, even those of a stream.
                examples = answer["content"][JSON]["examples"]
                answer["content"] = {JSON: {"schema": ERROR, "examples": examples}}
                name = "Or".join(examples)
                if shared.setdefault(name, answer) != answer:
                    raise ValueError(f"two answers are called {name}")
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    document["components"]["responses"] = dict(sorted(shared.items()))
