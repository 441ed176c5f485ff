"""Turn FastAPI's document into the published one: add names, descriptions, headers, formats and examples."""

from typing import Any

from api.openapi.add_examples import add_examples
from api.openapi.description import render_description
from api.openapi.error_components import share_errors
from api.openapi.headers import add_headers
from api.openapi.impossible_errors import remove_impossible_errors
from api.openapi.integer_formats import add_integer_formats, name_bounds
from api.openapi.operation_ids import operation_id, summary
from api.openapi.parameters import describe_answers, describe_parameters
from api.openapi.security import add_security
from api.openapi.tags import list_tags
from api.openapi.undeclared_schemas import add_schemas
from api.openapi.walk import objects, operations
from workflows.settings import Settings

FRAMEWORK_ERRORS = ("HTTPValidationError", "ValidationError")


def postprocess(document: dict[str, Any], settings: Settings) -> None:
    """Change FastAPI's ``document`` in place into the published one."""
    remove_framework_errors(document)
    add_schemas(document)
    describe(document, settings)
    name_operations(document)
    describe_parameters(document)
    describe_answers(document)
    remove_impossible_errors(document)
    add_security(document)
    add_headers(document)
    add_examples(document)
    share_errors(document)
    tidy_schemas(document)
    close_objects(document)
    name_bounds(document)
    add_integer_formats(document)


def remove_framework_errors(document: dict[str, Any]) -> None:
    """Remove the 422 that FastAPI declares for every route with parameters.

    This API answers 400 instead.
    """
    for _, _, operation in operations(document):
        if FRAMEWORK_ERRORS[0] in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
    for name in FRAMEWORK_ERRORS:
        document["components"]["schemas"].pop(name, None)


def describe(document: dict[str, Any], settings: Settings) -> None:
    """Add the description, the servers and the tags."""
    document["info"] |= {
        "description": render_description(settings),
        "contact": {"name": "MPAC SmartPOS Payments"},
    }
    document["servers"] = [{"url": "/", "description": "The installation that serves this document"}]
    if settings.public_url:
        document["servers"].append({"url": settings.public_url, "description": "Its public address"})
    document["tags"] = list_tags()


def name_operations(document: dict[str, Any]) -> None:
    """Give each operation a stable id and a readable summary."""
    for path, method, operation in operations(document):
        operation["operationId"] = operation_id(method, path)
        operation["summary"] = summary(operation["operationId"])


def tidy_schemas(document: dict[str, Any]) -> None:
    """Remove titles, which generators would turn into types, and convert descriptions to Markdown."""
    for item in objects(document):
        if item is not document["info"]:
            item.pop("title", None)
        if isinstance(text := item.get("description"), str):
            item["description"] = text.replace("``", "`")


def close_objects(document: dict[str, Any]) -> None:
    """Replace ``additionalProperties: false`` by ``unevaluatedProperties: false``.

    Both mean the same here. For an object with ``additionalProperties: false``, openapi-generator (7.9 to 7.17) generates a
    hash map in Java and Kotlin, and its Java client sends every request as ``{}``.
    """
    for item in objects(document):
        if item.get("additionalProperties") is False:
            del item["additionalProperties"]
            item["unevaluatedProperties"] = False
