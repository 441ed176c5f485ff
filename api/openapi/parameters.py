"""Add descriptions that routes do not declare: of common query parameters, and of successful responses."""

from typing import Any

from api.openapi.walk import operations

DESCRIPTIONS: dict[str, str] = {
    "store_id": "Only those of this store",
    "merchant_id": "Only those of this merchant",
    "device_id": "Only those of this terminal",
    "order_id": "Only those of this order",
    "bill_id": "Only those of this bill",
    "parent_bill_id": "Only parts of this bill",
    "payment_id": "Only those of this payment",
    "status": "Only those in this status",
    "category": "Only those of this category",
    "client_reference": "Only the one with this reference, which is unique within the merchant",
    "order_number": "Only the one with this number",
    "bill_number": "Only the one with this number",
    "table_number": "Only those of this table",
    "created_from": "Only those created at this time or later",
    "created_to": "Only those created before this time",
}
"""Name of a query parameter → its description on routes that declare none."""


def describe_parameters(document: dict[str, Any]) -> None:
    """Add the missing descriptions of query parameters."""
    for _, _, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            if not parameter.get("description") and parameter["in"] == "query":
                parameter["description"] = DESCRIPTIONS.get(parameter["name"], "")


def describe_answers(document: dict[str, Any]) -> None:
    """Replace FastAPI's "Successful Response" by the description of the response's schema."""
    schemas = document["components"]["schemas"]
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            if answer.get("description") == "Successful Response":
                content: dict[str, Any] = next(iter(answer.get("content", {}).values()), {})
                name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                answer["description"] = schemas.get(name, {}).get("description") or f"Done ({status})"
