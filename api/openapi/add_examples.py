"""Add examples to every request body and response of the OpenAPI document, by the name of the schema.

A new route gets the examples of its schemas automatically; ``api.openapi.error_responses`` has the examples of errors. The
examples are not in the models, because FastAPI drops nulls from examples there.
"""

from collections.abc import Mapping
from typing import Any

from api.media_types import JSON
from api.openapi.examples.orders import (
    BILL_REQUESTS,
    BILLS,
    COMBINATIONS,
    ORDER_CHANGES,
    ORDER_REQUESTS,
    ORDERS,
    SPLITS,
)
from api.openapi.examples.payments import PAYMENTS, REQUESTS
from api.openapi.examples.refunds import REFUND_REQUESTS, REFUNDS, REPORT_REQUESTS
from api.openapi.examples.terminals import TERMINALS
from workflows.payments.queries import payment_fields

Examples = dict[str, dict[str, Any]]


def _as_examples(table: Mapping[str, tuple[str, Any]]) -> Examples:
    # The summary repeats the name, because Swagger UI lists summaries only.
    return {name: {"summary": f"{name}: {summary}", "value": value} for name, (summary, value) in table.items()}


_PAYMENTS = _as_examples({name: (summary, payment_fields(row)) for name, (summary, row) in PAYMENTS.items()})
_ORDERS = _as_examples(ORDERS)
_BILLS = _as_examples(BILLS)
_REFUNDS = _as_examples(REFUNDS)
_TERMINALS = _as_examples(TERMINALS)
SCHEMAS: Mapping[str, Examples] = {
    "OrderIn": _as_examples(ORDER_REQUESTS),
    "OrderOut": _ORDERS,
    "OrdersOut": _as_examples({"a page": ("Newest first", {"data": [_ORDERS["open"]["value"]], "next_cursor": None})}),
    "OrderPatch": _as_examples(ORDER_CHANGES),
    "BillIn": _as_examples(BILL_REQUESTS),
    "CombineIn": _as_examples(COMBINATIONS),
    "SplitIn": _as_examples(SPLITS),
    "BillOut": _BILLS,
    "BillsOut": _as_examples({"a page": ("Newest first", {"data": [_BILLS["unpaid"]["value"]], "next_cursor": None})}),
    "RefundIn": _as_examples(REFUND_REQUESTS),
    "ReportIn": _as_examples(REPORT_REQUESTS),
    "RefundOut": _REFUNDS,
    "RefundsOut": _as_examples(
        {"a page": ("Newest first", {"data": [_REFUNDS["completed"]["value"]], "next_cursor": None})}
    ),
    "PaymentIn": _as_examples(REQUESTS),
    "PaymentOut": _PAYMENTS,
    "PaymentsOut": _as_examples(
        {"a page": ("Newest first", {"data": [_PAYMENTS["completed"]["value"]], "next_cursor": None})}
    ),
    "TerminalOut": _TERMINALS,
    "TerminalsOut": _as_examples(
        {"a page": ("Newest first", {"data": [_TERMINALS["active"]["value"]], "next_cursor": None})}
    ),
}
"""Name of a schema → its examples, by the names from which a reader chooses."""


def add_examples(document: dict[str, Any]) -> None:
    """Add examples to every body of an OpenAPI ``document``."""
    for path in document["paths"].values():
        for operation in path.values():
            _add(operation.get("requestBody", {}))
            for status, response in operation["responses"].items():
                _add(response, only_first=status == "201")


def _add(body: dict[str, Any], *, only_first: bool = False) -> None:
    shown = body.get("content", {}).get(JSON, {})
    examples = SCHEMAS.get(shown.get("schema", {}).get("$ref", "").rpartition("/")[2])
    if examples:
        # An entity that was just created has its first status, whose example is the first.
        shown["examples"] = dict([next(iter(examples.items()))]) if only_first else examples
