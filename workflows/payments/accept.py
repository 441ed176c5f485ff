"""Accept payments: record a pending payment, its history and its idempotency record in one transaction.

| phase   | what                                                                                                       |
|---------|------------------------------------------------------------------------------------------------------------|
| look up | one statement for the whole group: keys, devices, stores, providers, references (``check_request``)        |
| reserve | only with bills: lock the bill and reserve the amount on it                                                |
| write   | one statement for all acceptable requests; if the database refuses it, each request is written on its own  |

No decision depends on another request of the same group. If two requests of a group have the same ``client_reference``, the
second waits for the group's commit and is then checked against the committed rows. If a request waited for a bill's lock and
is refused, its key is looked up again, because it may have waited for the first request with that key.

Concurrent requests share a commit (``workflows.database.group_commit``): a single request never waits, and fifty cost little
more than one. The answer is sent only after that commit, so a 201 always means that the payment is stored and will become
final.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.apply_payments import Reservation, reserve
from workflows.bills.lock import BillAmount
from workflows.database.engines import Role, rows_parameter, transaction, violated_constraint
from workflows.database.group_commit import GroupCommit, KeyedGroupCommit
from workflows.database.json_rendering import render
from workflows.errors import DomainError, IdempotencyKeyInUse
from workflows.ids import new_id
from workflows.payments.check_request import PaymentRequest, PaymentSubmission, check_request, load_context, store_id_of
from workflows.payments.models import PaymentRow
from workflows.payments.queries import payment_fields
from workflows.payments.states import PAYMENT
from workflows.requests.batch_lookup import InFlightKeys, known_answer
from workflows.requests.idempotency import KEY_LIFE, STORE_RECORDS, AnswerToStore, StoredAnswer, record_rows
from workflows.tenants.caller import Caller, CallerRole
from workflows.transitions import ChangeContext

GROUP_LIMIT = 100
"""Requests per transaction. A larger group gains little, and makes its first request wait for its last."""

SPLIT_ON = (DBAPIError, IdempotencyKeyInUse)
"""Errors that one request of a group causes for the whole group. The requests are then accepted one by one."""

CONCURRENCY = 2
"""Groups written concurrently: one is being committed while the next is being rendered."""


_COLUMNS = """
    id, merchant_id, store_id, device_id, bill_id, order_id, status, version, amount, tip_amount, currency, method_type,
    method_mode, processing_mode, provider, provider_token, approval_code, card_brand, card_last_4, entry_method,
    slip_number, card_arn, external_result, cash_received, change_amount, client_reference, metadata, on_too_late, due_at,
    request_id, expires_at, created_at"""
"""The columns that an accept sets. All others have their defaults, so an older process works with a newer schema."""

_WRITE = text(f"""
    -- write: the payment, its first history row and the answer to its key, for every request of the group
    WITH payment AS (
        INSERT INTO payments ({_COLUMNS})
        SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::payments, CAST(:payments AS jsonb))
        ORDER BY merchant_id, client_reference -- as the keys below
        RETURNING id, merchant_id, store_id, created_at, request_id
    ), history AS (
        INSERT INTO payment_history (payment_id, version, merchant_id, store_id, event, to_status, at, caller_type,
                                     caller_id, request_id)
        SELECT p.id, 1, p.merchant_id, p.store_id, 'create', 'pending', p.created_at, by.caller_type, by.caller_id,
               p.request_id
        FROM payment p JOIN jsonb_to_recordset(CAST(:payments AS jsonb)) AS by(id text, caller_type text, caller_id text)
            ON by.id = p.id
    ), stored AS (
        {STORE_RECORDS} RETURNING 1
    )
    SELECT count(*) FROM stored
""")


class PaymentIntake:
    """Accepts the payments of one process. It belongs to one event loop."""

    def __init__(self, *, nudge_grace_seconds: float, timeout_seconds: float) -> None:
        self._grace = timedelta(seconds=nudge_grace_seconds)
        self._gather: GroupCommit[PaymentSubmission, StoredAnswer] = GroupCommit(
            self._flush, limit=GROUP_LIMIT, concurrency=CONCURRENCY, split_on=SPLIT_ON, timeout_seconds=timeout_seconds
        )
        # Payments of one bill are written apart, one group at a time: waiting for a bill's lock delays no other payment.
        self._by_bill: KeyedGroupCommit[PaymentSubmission, StoredAnswer] = KeyedGroupCommit(
            self._flush, limit=GROUP_LIMIT, split_on=SPLIT_ON, timeout_seconds=timeout_seconds
        )
        self._in_flight = InFlightKeys()

    async def accept_payment(self, submission: PaymentSubmission) -> StoredAnswer:
        """Record a pending payment, or find the answer that was stored for its key.

        Return the status and body to answer with. Raises ``NotAuthorized`` (device not active), ``ResourceNotFound``
        (store or bill), ``InvalidRequest`` (no such provider here), ``DuplicateResource`` (client reference),
        ``BalanceUnavailable`` and ``InvalidStatusTransition`` (of its bill), ``IdempotencyKeyInUse``,
        ``IdempotencyKeyReused``, ``ServiceUnavailable``.
        """
        store_id_of(submission)  # raises here, for this caller only; within the group it would fail all requests
        with self._in_flight.running(submission.caller, submission.key):
            bill_id = submission.request.bill_id
            return await (self._by_bill.put(bill_id, submission) if bill_id else self._gather.put(submission))

    async def _flush(self, group: list[PaymentSubmission]) -> list[StoredAnswer | BaseException]:
        results = await self._accept_with_retry(group)
        while rest := [number for number, result in enumerate(results) if isinstance(result, _RetryInNextGroup)]:
            for number, result in zip(rest, await self._accept_postponed([group[n] for n in rest]), strict=True):
                results[number] = result
        return results

    async def _accept_postponed(self, rest: list[PaymentSubmission]) -> list[StoredAnswer | BaseException]:
        """Accept the postponed requests; never raise: the committed rest of the group must not run again."""
        try:
            return await self._accept_with_retry(rest)
        except Exception as error:
            if len(rest) == 1:
                return [error]
        return [result for submission in rest for result in await self._accept_postponed([submission])]

    async def _accept_with_retry(self, group: list[PaymentSubmission]) -> list[StoredAnswer | BaseException]:
        try:
            return await self._accept(group)
        except IdempotencyKeyInUse:
            if len(group) > 1:
                raise
        except IntegrityError as error:
            if len(group) > 1 or violated_constraint(error) != "payments_client_reference_key":
                raise
        # Another process stored the same key or reference first. Its row is committed now, so a second run finds it.
        return await self._accept(group)

    async def _accept(self, group: list[PaymentSubmission]) -> list[StoredAnswer | BaseException]:
        async with transaction(Role.ACCEPT) as connection:
            return await self._accept_group(connection, group)

    async def _accept_group(
        self, connection: AsyncConnection, group: list[PaymentSubmission]
    ) -> list[StoredAnswer | BaseException]:
        found = await load_context(connection, group)
        results: dict[int, StoredAnswer | BaseException] = {}
        drafts: list[_Draft] = []
        references: set[tuple[str, str]] = set()
        for number, submission in enumerate(group):
            try:
                context = check_request(submission, found.get(number))
                known = known_answer(submission.key, context, currency=context["currency"])
                reference = (context["merchant_id"], submission.request.client_reference or "")
                if known:
                    results[number] = known
                elif reference in references:
                    results[number] = _RetryInNextGroup()
                else:
                    drafts.append(_Draft(number, submission, self._payment(submission, context), context["is_taken"]))
                    if submission.request.client_reference:
                        references.add(reference)
            except DomainError as error:
                results[number] = error
        drafts = await _reserve(connection, drafts, results)
        if drafts:
            results.update(await _write(connection, drafts))
        return [results[number] for number in range(len(group))]

    def _payment(self, submission: PaymentSubmission, context: RowMapping) -> PaymentRow:
        payment = _payment_row(submission.request, context)
        payment["device_id"] = submission.caller.id if submission.caller.role is CallerRole.DEVICE else None
        payment["request_id"] = submission.request_id
        payment["due_at"] = context["now"] + self._grace
        return payment


@dataclass(slots=True)
class _Draft:
    """A request of the group that is accepted unless its bill refuses it.

    ``number`` is its index in the group. ``is_taken`` says that another caller already has an idempotency record under the
    same key.
    """

    number: int
    submission: PaymentSubmission
    payment: PaymentRow
    is_taken: bool


class _RetryInNextGroup(Exception):
    """The result of a request with the same client reference as an earlier request of its group.

    The earlier request must be committed first.
    """


async def _reserve(
    connection: AsyncConnection, drafts: list[_Draft], results: dict[int, StoredAnswer | BaseException]
) -> list[_Draft]:
    """Reserve the amounts of ``drafts`` on their bills, and return the drafts to write.

    These have a reservation or no bill. The errors of all others are put into ``results``.
    """
    billed = [draft for draft in drafts if draft.payment["bill_id"]]
    if not billed:
        return drafts
    reserved = await reserve(connection, [_reservation(draft) for draft in billed])
    refused: list[_Draft] = []
    for draft, outcome in zip(billed, reserved, strict=True):
        if isinstance(outcome, DomainError):
            results[draft.number] = outcome
            refused.append(draft)
        else:
            draft.payment["order_id"] = outcome.order_id
    if refused:
        await _answer_known_keys(connection, refused, results)
    return [draft for draft in drafts if draft.number not in results]


async def _answer_known_keys(
    connection: AsyncConnection, refused: list[_Draft], results: dict[int, StoredAnswer | BaseException]
) -> None:
    """Replace a refusal in ``results`` by the stored answer if there is one for the request's key now.

    The key may have been answered while the request waited for the lock of its bill.
    """
    found = await load_context(connection, [draft.submission for draft in refused])
    for number, draft in enumerate(refused):
        if context := found.get(number):  # untested: false only if the store was deleted meanwhile
            try:
                known = known_answer(draft.submission.key, context, currency=context["currency"])
            except DomainError as error:
                results[draft.number] = error
            else:
                results[draft.number] = known or results[draft.number]


def _reservation(draft: _Draft) -> Reservation:
    payment, submission = draft.payment, draft.submission
    by = ChangeContext.caller(submission.caller, at=payment["created_at"], request_id=submission.request_id)
    share = BillAmount(cast(str, payment["bill_id"]), payment["id"], payment["amount"], by)
    return Reservation(share, store_id=payment["store_id"], currency=payment["currency"])


async def _write(connection: AsyncConnection, drafts: list[_Draft]) -> dict[int, StoredAnswer]:
    """Write ``drafts``, and return the answers by ``number``.

    Raises ``IdempotencyKeyInUse`` if a key was used meanwhile.
    """
    answers = {
        draft.number: StoredAnswer(
            201, render(payment_fields(draft.payment)), resource_id=draft.payment["id"], is_replay=False
        )
        for draft in drafts
    }
    records_to_store = [
        AnswerToStore(draft.payment["merchant_id"], draft.submission.key, answers[draft.number], draft.is_taken)
        for draft in drafts
    ]
    stored = await record_rows(connection, records_to_store)
    payments = [{**draft.payment, **_by(draft.submission.caller)} for draft in drafts]
    rows = {"payments": rows_parameter(payments), "rows": rows_parameter(stored), "life": KEY_LIFE}
    if (await connection.execute(_WRITE, rows)).scalar_one() < len(drafts):
        raise IdempotencyKeyInUse(retry_after_seconds=1)
    return answers


def _by(caller: Caller) -> dict[str, str]:
    return {"caller_type": caller.type, "caller_id": caller.id}


def _payment_row(request: PaymentRequest, context: RowMapping) -> PaymentRow:
    now: datetime = context["now"]
    row = {
        "id": new_id("payment"),
        "merchant_id": context["merchant_id"],
        "store_id": context["store_id"],
        "bill_id": request.bill_id,
        "status": PAYMENT.initial[0],
        "version": 1,
        "amount": request.amount,
        "tip_amount": request.tip_amount,
        "currency": request.currency or context["currency"],
        "captured_amount": 0,
        "refunded_amount": 0,
        "refund_reserved": 0,
        "method_type": request.method_type,
        "method_mode": request.method_mode,
        "processing_mode": request.processing_mode,
        "provider": context["provider"] if request.processing_mode == "provider" else request.provider,
        "client_reference": request.client_reference,
        "metadata": request.metadata or {},
        "on_too_late": request.on_too_late,
        "outcome_known": True,
        "needs_review": False,
        "needs_action": False,
        "expires_at": now + timedelta(seconds=request.expires_in_seconds),
        "created_at": now,
        **request.facts,
    }
    return cast(PaymentRow, row)  # the other columns have their defaults
