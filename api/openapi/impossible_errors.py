"""Remove errors that are declared for an operation although it cannot send them."""

from typing import Any

from api.errors import STATUS
from api.media_types import JSON
from api.openapi.headers import takes_key
from api.openapi.walk import operations
from workflows.errors import (
    BalanceUnavailable,
    DomainError,
    DuplicateResource,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
)

OF_SOME: dict[type[DomainError], tuple[str, ...]] = {
    BalanceUnavailable: ("createPayment",),
    DuplicateResource: (
        "createPayment",
        "createBill",
        "combineBills",
        "updateOrder",
        "submitOrder",
        "cancelOrder",
        "completeOrder",
        "createStoreProvider",
        "createTerminal",
    ),
}
"""Error → the only operations that can send it."""

OF_KEYS = (IdempotencyKeyInUse, IdempotencyKeyReused)
"""Errors that only operations with an idempotency key can send."""

PROBES_NEVER_SEND = ("404", "429")
"""Statuses that probes never send, because they take neither a token nor an id, and no limit counts them."""


def remove_impossible_errors(document: dict[str, Any]) -> None:
    """Remove from ``document`` the error statuses and examples that an operation cannot send.

    Every operation must already have its ``operationId``.
    """
    for path, _, operation in operations(document):
        answers = operation["responses"]
        if operation["tags"] == ["health"]:
            for status in PROBES_NEVER_SEND:
                answers.pop(status, None)
        names_nothing = "{" not in path and "requestBody" not in operation
        if names_nothing and not any(parameter["required"] for parameter in operation.get("parameters", ())):
            answers.pop("404", None)  # a list without rows is empty, not missing
        impossible = [error for error, ids in OF_SOME.items() if operation["operationId"] not in ids]
        impossible += () if takes_key(operation) else OF_KEYS
        for error in impossible:
            _remove(answers.get(str(STATUS[error.kind]), {}), error)


def _remove(answer: dict[str, Any], error: type[DomainError]) -> None:
    examples = answer.get("content", {}).get(JSON, {}).get("examples", {})
    examples.pop(error.__name__, None)
    if examples:
        answer["description"] = " ".join(example["summary"] for example in examples.values())
