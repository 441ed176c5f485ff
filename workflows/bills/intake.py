"""Create bills for many callers at once: the usual bill, for one open order of which nothing is billed yet.

A bill's number has no gaps, so a bill that is created apart keeps its store's counter locked until it is committed. Sixteen
terminals of one store then waited for each other, each with a database connection, until none was left and requests got 503.
Here concurrent requests of a store's terminals share a transaction, which increments the counter once for all of them. A store
whose counter is locked by somebody else delays only its own bills:

| phase    | what                                                                                                   |
|----------|--------------------------------------------------------------------------------------------------------|
| lock     | the open orders that the callers may see, without waiting for any                                       |
| look up  | keys, live bills, items and stores, as they are now that the orders are locked                          |
| number   | one increment for each business day                                                                    |
| write    | bills, their orders, their history, and the answers to the keys                                         |

Any other request is left to ``workflows.bills.create``, which waits for its orders and finds out what is wrong: an order that
is locked, not open, partly billed or not visible, a key that another caller has, a second request of the group for the same
order or key.

The role of the transaction sees every tenant. So the lock has the tenant rule, locks nothing for a device that is not active,
and the owner of each order is compared with its caller once more, as ``tenants.gathered_reads`` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from workflows.bills.create import BILL_COLUMNS, bill_orders, bill_row
from workflows.bills.models import BillWithOrders
from workflows.bills.queries import bill_fields
from workflows.bills.split_amounts import BillPart
from workflows.bills.states import LIVE
from workflows.database.connection import Connection, Row
from workflows.database.engines import Role, rows_parameter
from workflows.database.group_commit import KeyedGroupCommit
from workflows.database.hot_path import hot_transaction
from workflows.database.json_rendering import render
from workflows.errors import IdempotencyKeyInUse
from workflows.numbering import NumberKind, StoreDay, allocate_numbers, business_date
from workflows.orders.models import OrderRow
from workflows.requests.batch_lookup import KEY_JOINS, KEY_RESULT, LOOKUP_COLUMNS, known_answer, lookup_row
from workflows.requests.idempotency import KEY_LIFE, STORE_RECORDS, Key, StoredAnswer, record_row
from workflows.tenants.caller import Caller, CallerRole, device_not_active_error
from workflows.tenants.scope import check_owner, scope_condition

GROUP_LIMIT = 100

# devices is a table of a higher layer. It is read here, so that the device's status takes no round trip of its own.
_LOCK = text(f"""
    -- lock: the status of each caller's device, and its order if that is open and unlocked
    SELECT i.n, d.status AS device_status, CASE i.scope WHEN 'psp' THEN psp_of(o.merchant_id) END AS owner_psp_id, o.*
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(n integer, scope text, psp_id text, merchant_id text, store_id text,
                                                       device_id text, client_id text, order_id text)
    LEFT JOIN LATERAL (
        SELECT CASE WHEN i.client_id IN ('', client_id) THEN status ELSE 'replaced' END AS status
        FROM devices WHERE id = i.device_id LIMIT 1
    ) d ON true
    LEFT JOIN LATERAL (
        SELECT r.id, r.merchant_id, r.store_id, r.currency, r.subtotal, r.tax_amount, r.discount_amount
        FROM orders r
        WHERE r.id = i.order_id AND r.status = 'open' AND (i.device_id IS NULL OR d.status = 'active')
          AND {scope_condition(merchant_id="r.merchant_id", store_id="r.store_id", caller="i.")}
        LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    ) o ON true
""")
_LOOK_UP = text(f"""
    -- look up: what is known of the locked orders; clock_timestamp, because times must not decrease
    SELECT i.n, s.time_zone, s.cut_off, clock_timestamp() AS at, {KEY_RESULT},
           ARRAY(SELECT id FROM order_items WHERE order_id = i.order_id ORDER BY position) AS item_ids,
           -- An array, LATERAL and LIMIT 1: otherwise a cached plan may scan all bills of all orders.
           cardinality(ARRAY(
               SELECT bo.bill_id FROM bill_orders bo
               CROSS JOIN LATERAL (SELECT FROM bills b WHERE b.id = bo.bill_id AND {LIVE} LIMIT 1) live
               WHERE bo.order_id = i.order_id
           )) > 0 AS is_billed
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i({LOOKUP_COLUMNS}, order_id text)
    JOIN LATERAL (SELECT merchant_id, time_zone, cut_off FROM stores WHERE id = i.store_id LIMIT 1) s ON true
    {KEY_JOINS}
""")
_WRITE = text(f"""
    -- write: answers, bills, their orders, and the first row of their history
    WITH stored AS (
        {STORE_RECORDS} RETURNING resource_id
    ), bill AS (
        INSERT INTO bills ({BILL_COLUMNS})
        SELECT {BILL_COLUMNS} FROM jsonb_populate_recordset(NULL::bills, CAST(:bills AS jsonb))
        RETURNING id, version, merchant_id, store_id, status, created_at
    ), by AS (
        SELECT * FROM jsonb_to_recordset(CAST(:bills AS jsonb)) AS b(id text, order_id text, caller_type text, caller_id text,
                                                                     request_id text)
    ), for_orders AS (
        INSERT INTO bill_orders (bill_id, order_id, merchant_id, store_id)
        SELECT b.id, by.order_id, b.merchant_id, b.store_id FROM bill b JOIN by ON by.id = b.id
    ), history AS (
        INSERT INTO bill_history (bill_id, version, merchant_id, store_id, event, to_status, at, caller_type, caller_id,
                                  request_id)
        SELECT b.id, b.version, b.merchant_id, b.store_id, 'create', b.status, b.created_at, by.caller_type, by.caller_id,
               by.request_id
        FROM bill b JOIN by ON by.id = b.id
    )
    SELECT count(*) FROM stored
""")


@dataclass(frozen=True, slots=True)
class BillSubmission:
    """A request for a bill of one order, with its caller and its key."""

    order_id: str
    caller: Caller
    key: Key
    request_id: str


@dataclass(frozen=True, slots=True)
class _Draft:
    """A request that gets a bill: its index in the group, its locked order, and what the look-up found."""

    number: int
    submission: BillSubmission
    order: OrderRow
    context: Row

    @property
    def day(self) -> StoreDay:
        """The business day of the order's store."""
        found = self.context
        on = business_date(found["at"], time_zone=found["time_zone"], cut_off=found["cut_off"])
        return StoreDay(self.order["store_id"], on, self.order["merchant_id"])

    def bill(self, number: str) -> BillWithOrders:
        """Return the bill: all of the order."""
        order = self.order
        part = BillPart(
            subtotal=order["subtotal"],
            tax_amount=order["tax_amount"],
            discount_amount=order["discount_amount"],
            item_ids=tuple(self.context["item_ids"]),
        )
        return bill_row(order, part, number=number, order_ids=[order["id"]], parent_bill_id=None, at=self.context["at"])


Result = StoredAnswer | None
"""The answer to a request, or ``None`` if it is left to ``bill_orders``."""

Results = list[Result | BaseException]


class BillIntake:
    """Creates the bills of one process. It belongs to one event loop."""

    def __init__(self, *, timeout_seconds: float) -> None:
        self._by_store: KeyedGroupCommit[BillSubmission, Result] = KeyedGroupCommit(
            self._flush,
            limit=GROUP_LIMIT,
            split_on=(DBAPIError, IdempotencyKeyInUse),
            timeout_seconds=timeout_seconds,
        )

    async def create_bill(self, submission: BillSubmission) -> StoredAnswer:
        """Create a bill for an order, or return the answer stored for the key. Raises as ``bill_orders`` does."""
        try:
            # A caller of several stores is in no group: the store of its order is known only in the transaction.
            answer = await self._by_store.put(submission.caller.store_id or submission.order_id, submission)
        except IdempotencyKeyInUse:  # it was used after the look-up; nothing of this request was written
            answer = None
        return answer or await bill_orders(
            [submission.order_id],
            field="order_id",
            caller=submission.caller,
            key=submission.key,
            request_id=submission.request_id,
        )

    async def _flush(self, group: list[BillSubmission]) -> Results:
        results: Results = [None] * len(group)
        async with hot_transaction(Role.ACCEPT) as connection:
            orders = await _lock(connection, group, results)
            drafts = await _look_up(connection, group, orders, results) if orders else []
            if drafts:
                await _write(connection, drafts, results)
        return results


async def _lock(connection: Connection, group: list[BillSubmission], results: Results) -> dict[int, OrderRow]:
    """Return the locked orders by the index of their requests, and put errors into ``results``."""
    rows = [{**_lookup_row(number, submission, submission.caller.store_id)} for number, submission in enumerate(group)]
    orders: dict[str, int] = {}
    found: dict[int, OrderRow] = {}
    for row in (await connection.execute(_LOCK, {"rows": rows_parameter(rows)})).mappings():
        number, caller = row["n"], group[row["n"]].caller
        if caller.role is CallerRole.DEVICE and row["device_status"] != "active":
            results[number] = device_not_active_error(row["device_status"])
        elif row["id"] is not None and orders.setdefault(row["id"], number) == number:
            try:
                check_owner(caller, {**row, "psp_id": row["owner_psp_id"]})
                found[number] = cast(OrderRow, row)
            except RuntimeError as error:
                results[number] = error
    return found


async def _look_up(
    connection: Connection, group: list[BillSubmission], orders: Mapping[int, OrderRow], results: Results
) -> list[_Draft]:
    """Return the requests that get a bill, and put stored answers and errors into ``results``."""
    rows = [_lookup_row(number, group[number], order["store_id"]) for number, order in orders.items()]
    drafts: list[_Draft] = []
    used: set[tuple[str, ...]] = set()
    for context in (await connection.execute(_LOOK_UP, {"rows": rows_parameter(rows)})).mappings():
        number = context["n"]
        submission, order = group[number], orders[number]
        try:
            results[number] = known_answer(submission.key, context, currency=None)
        except Exception as error:  # any exception, so that the other callers get their answers nevertheless
            results[number] = error
        name = (order["merchant_id"], *submission.key.record_key)
        if results[number] is None and not (context["is_billed"] or context["is_taken"] or name in used):
            used.add(name)
            drafts.append(_Draft(number, submission, order, context))
    return drafts


def _lookup_row(number: int, submission: BillSubmission, store_id: str) -> dict[str, Any]:
    row = lookup_row(number, submission.caller, submission.key, store_id=store_id)
    return {**row, "order_id": submission.order_id}


async def _write(connection: Connection, drafts: list[_Draft], results: Results) -> None:
    """Allocate the numbers, write the bills, and put their answers into ``results``.

    Raises ``IdempotencyKeyInUse`` if a key was used meanwhile. Everything is then rolled back, because the number of a bill
    that is not written would be missing.
    """
    numbers = await allocate_numbers(connection, NumberKind.BILL, [draft.day for draft in drafts])
    bills: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for draft, bill_number in zip(drafts, numbers, strict=True):
        bill, asked = draft.bill(bill_number), draft.submission
        by = {"caller_type": asked.caller.type, "caller_id": asked.caller.id, "request_id": asked.request_id}
        bills.append({**bill, **by, "order_id": asked.order_id})
        answer = StoredAnswer(201, render(bill_fields(bill)), resource_id=bill["id"], is_replay=False)
        records.append(record_row(bill["merchant_id"], asked.key, answer))
        results[draft.number] = answer
    parameters = {"bills": rows_parameter(bills), "rows": rows_parameter(records), "life": KEY_LIFE}
    if (await connection.execute(_WRITE, parameters)).scalar_one() < len(drafts):
        raise IdempotencyKeyInUse(retry_after_seconds=1)
