"""Accept requested refunds of many callers at once, in two statements that are transactions of their own.

| phase   | what                                                                                                    |
|---------|---------------------------------------------------------------------------------------------------------|
| look up | one statement for the group: each caller's device and key, and the payment if the caller may see it     |
| check   | in Python, as a single request is checked                                                               |
| write   | one statement: the records of the keys, the reservations, the refunds and their history                 |

Nothing is locked between the two. The write locks each payment and writes its refund only if the amounts are still those that
were checked; it waits for no payment's lock. A request that it leaves out is repeated by ``request_refund``, which locks the
payment first, and so is every request that needs more than this statement does:

- its payment is locked or has changed, or another request of the group is for the same payment;
- its key was used meanwhile, or another caller's record has the same key;
- a person still has to refund the money.

The statements run under a role that sees every tenant. So the look-up has the tenant rule, returns nothing to a device that
is not active, and the owner of each payment is compared with its caller once more, as ``tenants.gathered_reads`` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from workflows.database.connection import Row
from workflows.database.engines import Role, rows_parameter
from workflows.database.group_commit import GroupCommit
from workflows.database.hot_path import execute_alone
from workflows.database.json_rendering import render
from workflows.errors import ResourceNotFound
from workflows.payments.archived import explain_missing
from workflows.refunds.models import LockedPayment, NewRefund
from workflows.refunds.queries import refund_fields
from workflows.refunds.request import (
    COLUMNS,
    RefundRequest,
    check_amount,
    is_left_to_a_person,
    new_refund,
    request_refund,
)
from workflows.requests.batch_lookup import KEY_JOINS, KEY_RESULT, LOOKUP_COLUMNS, known_answer, lookup_row
from workflows.requests.idempotency import KEY_LIFE, STORE_RECORDS, Key, StoredAnswer, record_row
from workflows.tenants.caller import Caller, CallerRole, device_not_active_error
from workflows.tenants.scope import check_owner, scope_condition
from workflows.transitions import ChangeContext

GROUP_LIMIT = 100  # as for payments
CONCURRENCY = 2  # one group is checked in Python while the other is written

# devices is a table of a higher layer. It is read here, so that the device's status takes no round trip of its own.
_LOOK_UP = text(f"""
    -- look up: devices, keys and payments; clock_timestamp, because times must not decrease from the payment to its refund
    SELECT i.n, d.status AS device_status, s.id, s.merchant_id, s.store_id, s.payment_status, s.currency, s.captured_amount,
           s.refund_reserved, s.provider, clock_timestamp() AS now,
           CASE i.scope WHEN 'psp' THEN psp_of(s.merchant_id) END AS owner_psp_id, {KEY_RESULT}
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i({LOOKUP_COLUMNS}, payment_id text)
    LEFT JOIN LATERAL (
        SELECT CASE WHEN i.client_id IN ('', client_id) THEN status ELSE 'replaced' END AS status
        FROM devices WHERE id = i.device_id LIMIT 1
    ) d ON true
    LEFT JOIN LATERAL (
        SELECT r.id, r.merchant_id, r.store_id, r.status AS payment_status, r.currency, r.captured_amount, r.refund_reserved,
               r.provider
        FROM payments r
        WHERE r.id = i.payment_id AND (i.device_id IS NULL OR d.status = 'active')
          AND {scope_condition(merchant_id="r.merchant_id", store_id="r.store_id", caller="i.")}
        LIMIT 1
    ) s ON true
    {KEY_JOINS}
""")
_STORE_LOCKED = STORE_RECORDS.replace(
    "ORDER BY merchant_id", "WHERE resource_id = ANY(ARRAY(SELECT id FROM locked)) ORDER BY merchant_id"
)
_WRITE = text(f"""
    -- write: for each payment that is unlocked and unchanged, the answer to the key, the reservation, the refund, its history
    WITH wanted AS (
        SELECT * FROM jsonb_to_recordset(CAST(:refunds AS jsonb)) AS w(
            id text, payment_id text, amount bigint, seen_captured bigint, seen_reserved bigint, caller_type text,
            caller_id text)
    ), locked AS (
        SELECT w.id FROM wanted w JOIN payments p ON p.id = w.payment_id
        WHERE p.id = ANY(ARRAY(SELECT payment_id FROM wanted)) AND p.status IN ('completed', 'refunded')
          AND p.captured_amount = w.seen_captured AND p.refund_reserved = w.seen_reserved
        ORDER BY p.id FOR UPDATE OF p SKIP LOCKED
    ), stored AS (
        {_STORE_LOCKED} RETURNING resource_id
    ), reserved AS (
        UPDATE payments p SET refund_reserved = p.refund_reserved + w.amount
        FROM wanted w
        WHERE p.id = ANY(ARRAY(SELECT payment_id FROM wanted)) AND p.id = w.payment_id
          AND w.id = ANY(ARRAY(SELECT resource_id FROM stored))
    ), refund AS (
        INSERT INTO refunds ({COLUMNS})
        SELECT {COLUMNS} FROM jsonb_populate_recordset(NULL::refunds, CAST(:refunds AS jsonb))
        WHERE id = ANY(ARRAY(SELECT resource_id FROM stored))
        RETURNING id, version, merchant_id, store_id, status, created_at, request_id
    ), history AS (
        INSERT INTO refund_history (refund_id, version, merchant_id, store_id, event, to_status, at, caller_type, caller_id,
                                    request_id)
        SELECT r.id, r.version, r.merchant_id, r.store_id, 'create', r.status, r.created_at, w.caller_type, w.caller_id,
               r.request_id
        FROM refund r JOIN wanted w ON w.id = r.id
    )
    SELECT resource_id FROM stored
""")
"""Returns the ids of the refunds that were written."""


@dataclass(frozen=True, slots=True)
class RefundSubmission:
    """A requested refund of a payment, its caller and its key."""

    payment_id: str
    request: RefundRequest
    caller: Caller
    key: Key
    request_id: str


@dataclass(frozen=True, slots=True)
class _Draft:
    """An acceptable request: its index in the group, its payment and the row of its refund."""

    number: int
    submission: RefundSubmission
    payment: LockedPayment
    row: NewRefund

    def stored(self) -> StoredAnswer:
        """Return the answer to the request."""
        return StoredAnswer(201, render(refund_fields(self.row)), resource_id=self.row["id"], is_replay=False)

    def parameters(self) -> dict[str, Any]:
        """Return the row of ``_WRITE``: the refund, what was seen of its payment, and its caller."""
        seen = {"seen_captured": self.payment["captured_amount"], "seen_reserved": self.payment["refund_reserved"]}
        caller = self.submission.caller
        return {**self.row, **seen, "caller_type": caller.type, "caller_id": caller.id}


Result = StoredAnswer | None
"""The answer to a request, or ``None`` if it has to be repeated with its payment locked."""


class RefundIntake:
    """Accepts the refunds of one process. It belongs to one event loop."""

    def __init__(self, *, nudge_grace_seconds: float, timeout_seconds: float) -> None:
        self._grace_seconds = nudge_grace_seconds
        self._group: GroupCommit[RefundSubmission, Result] = GroupCommit(
            self._flush,
            limit=GROUP_LIMIT,
            concurrency=CONCURRENCY,
            split_on=(DBAPIError,),
            timeout_seconds=timeout_seconds,
        )

    async def accept_refund(self, submission: RefundSubmission) -> StoredAnswer:
        """Record a pending refund, or find the answer that was stored for its key. Return the answer.

        Raises as ``request_refund`` does.
        """
        try:
            return await self._group.put(submission) or await request_refund(
                submission.payment_id,
                submission.request,
                caller=submission.caller,
                key=submission.key,
                request_id=submission.request_id,
                grace_seconds=self._grace_seconds,
            )
        except ResourceNotFound as error:
            raise await explain_missing(submission.payment_id, error) from error

    async def _flush(self, group: list[RefundSubmission]) -> list[Result | BaseException]:
        found = await _look_up(group)
        results: list[Result | BaseException] = [None] * len(group)
        drafts: dict[str, _Draft] = {}
        for number, submission in enumerate(group):
            try:
                decided = self._decide(number, submission, found[number])
            except Exception as error:  # any exception, so that the other callers get their answers nevertheless
                results[number] = error
                continue
            if isinstance(decided, _Draft):
                drafts.setdefault(submission.payment_id, decided)  # a second refund of a payment is repeated
            else:
                results[number] = decided
        if drafts:
            answers = await _write(list(drafts.values()))
            for draft in drafts.values():
                results[draft.number] = answers.get(draft.row["id"])
        return results

    def _decide(self, number: int, submission: RefundSubmission, context: Row) -> _Draft | Result:
        """Return the stored answer, a draft, or ``None`` if the payment has to be locked first."""
        caller = submission.caller
        if caller.role is CallerRole.DEVICE and context["device_status"] != "active":
            raise device_not_active_error(context["device_status"])
        if context["id"] is None:
            raise ResourceNotFound()
        check_owner(caller, {**context, "psp_id": context["owner_psp_id"]})
        if known := known_answer(submission.key, context, currency=None):
            return known
        payment = _payment(context)
        amount = check_amount(payment, submission.request)
        if context["is_taken"] or is_left_to_a_person(payment, submission.request):
            return None
        by = ChangeContext.caller(caller, at=payment["now"], request_id=submission.request_id)
        row = new_refund(payment, submission.request, amount=amount, by=by)
        row["due_at"] = by.at + timedelta(seconds=self._grace_seconds)
        return _Draft(number, submission, payment, row)


def _payment(context: Row) -> LockedPayment:
    names = ("id", "merchant_id", "store_id", "currency", "provider", "captured_amount", "refund_reserved", "now")
    payment = {name: context[name] for name in names}
    return cast(LockedPayment, {**payment, "status": context["payment_status"]})


async def _look_up(group: list[RefundSubmission]) -> Mapping[int, Row]:
    """Return, for each index of ``group``, what decides about the request."""
    rows = [
        {
            **lookup_row(number, submission.caller, submission.key, store_id=submission.caller.store_id),
            "payment_id": submission.payment_id,
        }
        for number, submission in enumerate(group)
    ]
    found = await execute_alone(Role.ACCEPT, _LOOK_UP, {"rows": rows_parameter(rows)})
    return {row["n"]: row for row in found.all()}


async def _write(drafts: list[_Draft]) -> dict[str, StoredAnswer]:
    """Write ``drafts``, and return the answers to those that were written, by the id of the refund."""
    answers = {draft.row["id"]: draft.stored() for draft in drafts}
    records = [
        record_row(draft.payment["merchant_id"], draft.submission.key, answers[draft.row["id"]]) for draft in drafts
    ]
    parameters = {
        "refunds": rows_parameter([draft.parameters() for draft in drafts]),
        "rows": rows_parameter(records),
        "life": KEY_LIFE,
    }
    written = await execute_alone(Role.ACCEPT, _WRITE, parameters)
    return {row["resource_id"]: answers[row["resource_id"]] for row in written.all()}
