"""Check requested payments against the committed rows, for a whole group of requests in one statement.

The fields of a request have been validated when it arrives here. One statement loads what else decides: whether the key was
used, the device is active, the store belongs to the caller, a provider is enabled, and the client reference is taken.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from workflows.database.connection import Execute, Row
from workflows.database.engines import rows_parameter
from workflows.errors import Detail, DuplicateResource, InvalidRequest
from workflows.requests.batch_lookup import LOOKUP_COLUMNS, LOOKUP_JOINS, LOOKUP_RESULT, check_caller, lookup_row
from workflows.requests.first_answers import with_bodies
from workflows.requests.idempotency import Key
from workflows.tenants.caller import Caller
from workflows.tenants.scope import resolve_store


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A requested payment with validated fields. Amounts are minor units of ``currency``."""

    amount: int
    currency: str | None
    tip_amount: int
    method_type: str
    method_mode: str | None
    processing_mode: str
    provider: str | None
    facts: dict[str, Any]
    expires_in_seconds: int
    store_id: str | None = None
    bill_id: str | None = None
    client_reference: str | None = None
    on_too_late: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PaymentSubmission:
    """A requested payment with its caller and its idempotency key."""

    request: PaymentRequest
    caller: Caller
    key: Key
    request_id: str


_LOAD_CONTEXT = text(f"""
    -- look up: everything that decides whether a request is accepted, for the whole group
    SELECT {LOOKUP_RESULT},
           (SELECT sp.provider FROM store_providers sp
            WHERE sp.store_id = s.id AND sp.enabled AND i.capability = ANY (sp.methods)
              AND (i.provider IS NULL OR sp.provider = i.provider)
            ORDER BY sp.priority, sp.provider LIMIT 1) AS provider,
           (SELECT r.payment_id FROM payment_client_references r
            WHERE r.merchant_id = s.merchant_id AND r.client_reference = i.client_reference LIMIT 1) AS reference_taken
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i({LOOKUP_COLUMNS}, capability text, provider text, client_reference text)
    {LOOKUP_JOINS}
""")


async def load_context(execute: Execute, group: list[PaymentSubmission]) -> dict[int, Row]:
    """Return the context of each request, by its index in ``group``.

    A request whose caller may not use the store has no entry. ``execute`` runs a statement.
    """
    rows = [_lookup_row(number, submission) for number, submission in enumerate(group)]
    found = (await execute(_LOAD_CONTEXT, {"rows": rows_parameter(rows)})).mappings().all()
    return {row["n"]: row for row in await with_bodies(execute, found)}


def check_request(submission: PaymentSubmission, found: Row | None) -> Row:
    """Check a request against ``found``, its entry of ``load_context``, and return ``found``.

    If the request's key was answered before, only the caller is checked.

    Raises ``NotAuthorized`` (device not active), ``ResourceNotFound`` (store), ``InvalidRequest`` (no such provider here) and
    ``DuplicateResource`` (client reference).
    """
    request = submission.request
    context = check_caller(submission.caller, found)
    if context["status"] is not None:
        return context  # answered before, so the same answer is given again, whatever has changed since
    if request.processing_mode == "provider" and context["provider"] is None:
        wanted = f"The provider {request.provider} is not" if request.provider else "No provider is"
        issue = f"{wanted} enabled for {request.method_type} payments at this store"
        raise InvalidRequest(Detail("method.provider", issue))
    if taken_by := context["reference_taken"]:
        raise DuplicateResource(
            Detail("client_reference", f"Already used by {taken_by}; read it with GET /payments/{taken_by}")
        )
    return context


def store_id_of(submission: PaymentSubmission) -> str:
    """Return the id of the store that the payment is for. Raises as ``resolve_store`` does."""
    return resolve_store(submission.caller, submission.request.store_id)


def _lookup_row(number: int, submission: PaymentSubmission) -> dict[str, Any]:
    request = submission.request
    return {
        **lookup_row(number, submission.caller, submission.key, store_id=store_id_of(submission)),
        "capability": request.method_type if request.processing_mode == "provider" else None,
        "provider": request.provider,
        "client_reference": request.client_reference,
    }
