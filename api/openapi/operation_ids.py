"""Derive the id of an operation, a verb and a noun, from its method and path.

Generators turn the ids into function names, so they must never change. They are derived from the method and the path, which
are part of the contract, rather than from the name of a Python function. A route that does not fit the rule has an entry in
``NAMED``.
"""

import re

PREFIX = "/api/v1"
NAMED = {
    "GET /payments/{payment_id}/stream": "streamPayment",
    "POST /bills/combine": "combineBills",
    "POST /device/provision/generateActivationCode": "generateActivationCode",
    "POST /device/provision/activate": "activateTerminal",
    "GET /device/provision/activationStatus": "getActivationStatus",
    "POST /auth/device/token": "createDeviceToken",
    "POST /settlements/{settlement_id}/cash-count": "countCash",
    "POST /settlements/{settlement_id}/statements": "uploadStatement",
    "GET /settlements/{settlement_id}/export.csv": "exportSettlementAsCsv",
    "GET /settlements/{settlement_id}/export.json": "exportSettlementAsJson",
    "GET /settlements/{settlement_id}/report": "getSettlementReport",
    "GET /settlements/{settlement_id}/report.pdf": "getSettlementReportAsPdf",
    "GET /ops/invariants": "getInvariants",
    "GET /health/live": "getLiveness",
    "GET /health/ready": "getReadiness",
    "GET /metrics": "getMetrics",
}
"""Method and path of an operation that does not follow the rule → its id."""

LEADING = ("ops",)  # a path segment that groups operations and names no entity
OF_ONE = {"GET": "get", "PATCH": "update", "PUT": "set", "DELETE": "delete", "POST": "create"}
OF_ALL = {"GET": "list", "POST": "create", "PUT": "set"}


def operation_id(method: str, path: str) -> str:
    """Return the id of an operation: ``POST /api/v1/payments/{payment_id}/cancel`` is ``cancelPayment``."""
    method, path = method.upper(), path.removeprefix(PREFIX)
    if named := NAMED.get(f"{method} {path}"):
        return named
    parts = [part for part in path.strip("/").split("/") if part not in LEADING]
    *owners, last = [part for part in parts if not part.startswith("{")]
    owner = "".join(_title(_singular(name)) for name in owners)
    if parts[-1].startswith("{"):
        return OF_ONE[method] + owner + _title(_singular(last))
    if method == "POST" and owners and not last.endswith("s"):  # an action on the entity before it
        return _lower(_title(last)) + owner
    noun = last if method == "GET" else _singular(last)
    return OF_ALL[method] + owner + _title(noun)


def summary(identifier: str) -> str:
    """Return the summary of an operation, for example "Cancel payment" for ``cancelPayment``."""
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", identifier).lower()
    return words[0].upper() + words[1:]


def _singular(noun: str) -> str:
    return noun[:-3] + "y" if noun.endswith("ies") else noun.removesuffix("s")


def _title(words: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in re.split(r"[-_.]", words))


def _lower(word: str) -> str:
    return word[0].lower() + word[1:]
