"""Describe the groups of operations (tags) in the OpenAPI document, in the order in which an integrator needs them."""

TAGS: dict[str, str] = {
    "payments": "Take money. `createPayment` stores a payment and answers 201 `pending` at once; a worker processes it. "
    "Wait for the outcome with `getPayment` and `wait`, or with `streamPayment`. A terminal that lost the 201 finds its "
    "payment by `client_reference`.",
    "refunds": "Return money, in whole or in part. A refund is a separate resource and asynchronous like a payment. "
    "A refund with `needs_action: true` waits until a person has returned the money at the till and reported it.",
    "orders": "What is sold: items, tax, discount. Totals are computed by the server.",
    "bills": "What is owed for one order or several. A bill can be split, and each payment reserves its share.",
    "settlements": "A store's business day in one currency: its lines and totals, its close, the cash count, its exports "
    "and its printable report.",
    "reconciliation": "Compare a closed settlement with its providers' statements, and resolve the differences (breaks).",
    "ledger": "The double-entry ledger behind the settlements, read-only.",
    "merchants": "Merchants of a PSP.",
    "stores": "Stores of a merchant, and the providers that charge for them.",
    "terminals": "Terminals (devices): registration, activation with a code, access tokens, suspension.",
    "operations": "Actions of system operators: the maintenance switch and dead letters.",
    "health": "Probes and metrics, without a token. They are served even during maintenance and overload.",
}
"""Tag → its description."""


def list_tags() -> list[dict[str, str]]:
    """Return the ``tags`` of the document."""
    return [{"name": name, "description": description} for name, description in TAGS.items()]
