"""Accept payments: record a pending payment, its history and its idempotency record in one statement.

| phase   | what                                                                                                       |
|---------|------------------------------------------------------------------------------------------------------------|
| look up | one statement for the whole group: keys, devices, stores, providers, references (``check_request``)        |
| reserve | only with bills: lock the bill and reserve the amount on it                                                |
| write   | one statement for all acceptable requests; if the database refuses it, each request is written on its own  |

Without a bill, look up and write are transactions of their own, two round trips in all. One transaction would protect no
more: under READ COMMITTED each statement sees what is committed when it starts, and the look-up locks nothing. If a key was
used since, the write skips its request (``write_payments``). If a reference was used, the unique index refuses it. A device
or store that changes in between could change just as well after the look-up of one transaction. With a bill, all phases are
one transaction, because the bill stays locked.

No decision depends on another request of the same group. If two requests of a group have the same ``client_reference``, or two
callers the same key, the second waits for the group's commit and is then checked against the committed rows. If a request
waited for a bill's lock and is refused, its key is looked up again, because it may have waited for the first request with that
key.

Concurrent requests share a commit (``workflows.database.group_commit``): a single request never waits, and fifty cost little
more than one. The answer is sent only after that commit, so a 201 always means that the payment is stored and will become
final.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import cast

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.apply_payments import Reservation, reserve
from workflows.bills.lock import BillAmount
from workflows.database.connection import Connection, Row, Rows
from workflows.database.engines import Role, transaction, violated_constraint
from workflows.database.group_commit import GroupCommit, KeyedGroupCommit
from workflows.database.hot_path import execute_alone, hot_transaction
from workflows.database.months import execute_in_month, execute_within
from workflows.errors import DomainError, IdempotencyKeyInUse
from workflows.payments.check_request import PaymentSubmission, check_request, load_context, store_id_of
from workflows.payments.write_payments import WRITE, Draft, new_draft, write_parameters
from workflows.requests.batch_lookup import InFlightKeys, known_answer
from workflows.requests.idempotency import StoredAnswer, record_rows
from workflows.transitions import ChangeContext

GROUP_LIMIT = 100
"""Requests per transaction. A larger group gains little, and makes its first request wait for its last."""

SPLIT_ON = (DBAPIError, IdempotencyKeyInUse)
"""Errors that one request of a group causes for the whole group. The requests are then accepted one by one."""

CONCURRENCY = 2
"""Groups written concurrently: one is being committed while the next is being rendered."""


Results = dict[int, StoredAnswer | BaseException]
"""The index of a request in its group → its answer or error."""


class PaymentIntake:
    """Accepts the payments of one process. It belongs to one event loop.

    ``renders_answers`` is the setting of that name (``workflows.requests.first_answers``).
    """

    def __init__(self, *, nudge_grace_seconds: float, timeout_seconds: float, renders_answers: bool = False) -> None:
        self._renders_answers = renders_answers
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
        if any(submission.request.bill_id for submission in group):
            async with transaction(Role.ACCEPT) as connection:
                return await self._accept_billed(connection, group)
        found = await load_context(partial(execute_alone, Role.ACCEPT), group)
        results, drafts = self._decide(group, found)
        if drafts:
            await _write(drafts, results)
        return [results[number] for number in range(len(group))]

    async def _accept_billed(
        self, connection: AsyncConnection, group: list[PaymentSubmission]
    ) -> list[StoredAnswer | BaseException]:
        results, drafts = self._decide(group, await load_context(connection.execute, group))
        drafts = await _reserve(connection, drafts, results)
        if drafts:
            answers = [draft.answer() for draft in drafts]
            records = await record_rows(connection, answers)
            written = await _write_within(connection, drafts, records)
            if len(written.mappings().all()) < len(
                drafts
            ):  # a key was used meanwhile; the reservations are rolled back
                raise IdempotencyKeyInUse(retry_after_seconds=1)
            results.update({draft.number: answer.stored for draft, answer in zip(drafts, answers, strict=True)})
        return [results[number] for number in range(len(group))]

    def _decide(self, group: list[PaymentSubmission], found: Mapping[int, Row]) -> tuple[Results, list[Draft]]:
        """Return the results of the requests that are decided now, and the drafts of those to write."""
        results: Results = {}
        drafts: list[Draft] = []
        used: set[tuple[str, ...]] = set()
        for number, submission in enumerate(group):
            try:
                context = check_request(submission, found.get(number))
                known = known_answer(submission.key, context, currency=context["currency"])
                if known:
                    results[number] = known
                elif used.isdisjoint(names := _unique_names(submission, context["merchant_id"])):
                    renders = self._renders_answers
                    drafts.append(new_draft(number, submission, context, grace=self._grace, renders_answer=renders))
                    used.update(names)
                else:
                    results[number] = _RetryInNextGroup()
            except DomainError as error:
                results[number] = error
        return results, drafts


def _unique_names(submission: PaymentSubmission, merchant_id: str) -> list[tuple[str, ...]]:
    """Return what only one request of a group may have: its record's primary key and its reference."""
    names: list[tuple[str, ...]] = [(merchant_id, *submission.key.record_key)]
    if reference := submission.request.client_reference:
        names.append((merchant_id, reference))
    return names


async def _write(drafts: list[Draft], results: Results) -> None:
    """Write ``drafts``, which have no bill, and put their answers into ``results``.

    A request whose key was used meanwhile is postponed; its answer is committed now, so the next look-up finds it. Raises
    ``IdempotencyKeyInUse`` if it is the only request.
    """
    answers = [draft.answer() for draft in drafts]
    if any(answer.is_taken for answer in answers):  # other callers' records must stay locked until ours are stored
        async with hot_transaction(Role.ACCEPT) as connection:
            records = await record_rows(connection, answers)
            written = await _write_within(connection, drafts, records)
    else:
        parameters = write_parameters(drafts, [answer.row() for answer in answers])
        written = await execute_in_month(Role.ACCEPT, WRITE, _ids(drafts), parameters)
    stored = {row["resource_id"] for row in written.mappings()}
    if not stored and len(drafts) == 1:
        raise IdempotencyKeyInUse(retry_after_seconds=1)
    for draft, answer in zip(drafts, answers, strict=True):
        results[draft.number] = answer.stored if draft.payment["id"] in stored else _RetryInNextGroup()


async def _write_within(connection: Connection, drafts: list[Draft], records: Sequence[Row]) -> Rows:
    parameters = write_parameters(drafts, records)
    return await execute_within(connection, WRITE, _ids(drafts), parameters, role=Role.ACCEPT)


def _ids(drafts: list[Draft]) -> list[str]:
    return [draft.payment["id"] for draft in drafts]


class _RetryInNextGroup(Exception):
    """The result of a request that must be looked up again after its group was committed.

    An earlier request of the group has the same client reference or key, or another transaction used the key meanwhile.
    """


async def _reserve(connection: AsyncConnection, drafts: list[Draft], results: Results) -> list[Draft]:
    """Reserve the amounts of ``drafts`` on their bills, and return the drafts to write.

    These have a reservation or no bill. The errors of all others are put into ``results``.
    """
    billed = [draft for draft in drafts if draft.payment["bill_id"]]
    if not billed:
        return drafts
    reserved = await reserve(connection, [_reservation(draft) for draft in billed])
    refused: list[Draft] = []
    for draft, outcome in zip(billed, reserved, strict=True):
        if isinstance(outcome, DomainError):
            results[draft.number] = outcome
            refused.append(draft)
        else:
            draft.payment["order_id"] = outcome.order_id
    if refused:
        await _answer_known_keys(connection, refused, results)
    return [draft for draft in drafts if draft.number not in results]


async def _answer_known_keys(connection: AsyncConnection, refused: list[Draft], results: Results) -> None:
    """Replace a refusal in ``results`` by the stored answer if there is one for the request's key now.

    The key may have been answered while the request waited for the lock of its bill.
    """
    found = await load_context(connection.execute, [draft.submission for draft in refused])
    for number, draft in enumerate(refused):
        if context := found.get(number):  # untested: false only if the store was deleted meanwhile
            try:
                known = known_answer(draft.submission.key, context, currency=context["currency"])
            except DomainError as error:
                results[draft.number] = error
            else:
                results[draft.number] = known or results[draft.number]


def _reservation(draft: Draft) -> Reservation:
    payment, submission = draft.payment, draft.submission
    by = ChangeContext.caller(submission.caller, at=payment["created_at"], request_id=submission.request_id)
    share = BillAmount(cast(str, payment["bill_id"]), payment["id"], payment["amount"], by)
    return Reservation(share, store_id=payment["store_id"], currency=payment["currency"])
