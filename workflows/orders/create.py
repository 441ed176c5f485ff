"""Create orders: write items, number, history and idempotency record in one transaction.

| phase   | what                                                                                                    |
|---------|---------------------------------------------------------------------------------------------------------|
| look up | one statement for the whole group: is the key known, is the device active, is the store visible?          |
| number  | allocate numbers from the counters of the stores' business days. This comes late, because the row of a    |
|         | counter stays locked until the commit                                                                     |
| write   | write the rows. An order that begins open is written as a draft and submitted at once (``write_orders``)  |

Concurrent requests share a commit (``workflows.database.group_commit``), as payments do. If a statement of the group meets a
conflict, the group is rolled back, numbers included, and its requests run one by one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from workflows.database.connection import Connection, Row
from workflows.database.engines import Role, rows_parameter
from workflows.database.group_commit import GroupCommit
from workflows.database.hot_path import hot_transaction
from workflows.database.json_rendering import render
from workflows.errors import Detail, DomainError, IdempotencyKeyInUse, InvalidRequest
from workflows.ids import new_id
from workflows.numbering import NumberKind, StoreDay, allocate_numbers, business_date
from workflows.orders.queries import order_fields
from workflows.orders.states import ORDER, OrderStatus
from workflows.orders.totals import OrderLine, TaxRounding, compute_totals
from workflows.orders.write_orders import item_rows, write_orders
from workflows.requests.batch_lookup import (
    LOOKUP_COLUMNS,
    LOOKUP_JOINS,
    LOOKUP_RESULT,
    InFlightKeys,
    check_caller,
    known_answer,
    lookup_row,
)
from workflows.requests.idempotency import AnswerToStore, Key, StoredAnswer, record_rows
from workflows.tenants.caller import Caller, CallerRole
from workflows.tenants.scope import resolve_store

GROUP_LIMIT = 50
"""Requests per transaction. It is lower than the limit for payments, because an order has items to write."""

CONCURRENCY = 2
"""Concurrent groups, so that one group can be committed while the next one is rendered."""


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """The order that a terminal requests. The fields have been validated."""

    order_type: str
    lines: tuple[OrderLine, ...]
    table_number: str | None = None
    discount_amount: int = 0
    currency: str | None = None
    is_submitted: bool = False
    store_id: str | None = None


@dataclass(frozen=True, slots=True)
class Creation:
    """A request to create an order, with its caller and its idempotency key."""

    request: OrderRequest
    caller: Caller
    key: Key
    request_id: str


_LOOK_UP = text(f"""
    -- look up: the store, the device's status and the stored answer for each request of the group
    SELECT {LOOKUP_RESULT}, s.time_zone, s.cut_off
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i({LOOKUP_COLUMNS})
    {LOOKUP_JOINS}
""")


class OrderIntake:
    """Creates orders in groups. A process has one instance, which is bound to one event loop."""

    def __init__(self, *, tax_rounding: TaxRounding, timeout_seconds: float) -> None:
        self._rounding = tax_rounding
        self._group_commit: GroupCommit[Creation, StoredAnswer] = GroupCommit(
            self._flush,
            limit=GROUP_LIMIT,
            concurrency=CONCURRENCY,
            split_on=(DBAPIError, IdempotencyKeyInUse),
            timeout_seconds=timeout_seconds,
        )
        self._in_flight = InFlightKeys()

    async def create_order(self, creation: Creation) -> StoredAnswer:
        """Create an order, or return the answer stored for its key.

        Raises ``InvalidRequest`` (the discount or the total is out of range), ``NotAuthorized`` (device not
        active), ``ResourceNotFound`` (store), ``IdempotencyKeyInUse``, ``IdempotencyKeyReused``, ``ServiceUnavailable``.
        """
        with self._in_flight.running(creation.caller, creation.key):
            return await self._group_commit.put(creation)

    async def _flush(self, group: list[Creation]) -> list[StoredAnswer | BaseException]:
        try:
            return await self._attempt(group)
        except IdempotencyKeyInUse:
            if len(group) > 1:
                raise
        # The request that used the key first has committed by now, so a second look-up finds its answer.
        return await self._attempt(group)

    async def _attempt(self, group: list[Creation]) -> list[StoredAnswer | BaseException]:
        async with hot_transaction(Role.ACCEPT) as connection:
            return await self._create(connection, group)

    async def _create(self, connection: Connection, group: list[Creation]) -> list[StoredAnswer | BaseException]:
        lookup_rows: list[dict[str, Any]] = []
        results: dict[int, StoredAnswer | BaseException] = {}
        for number, creation in enumerate(group):
            try:
                lookup_rows.append(_lookup_row(number, creation))
            except DomainError as error:
                results[number] = error
        found = {
            row["n"]: row
            for row in (await connection.execute(_LOOK_UP, {"rows": rows_parameter(lookup_rows)})).mappings()
        }
        new: dict[int, dict[str, Any]] = {}
        for number in (row["n"] for row in lookup_rows):
            try:
                context = check_caller(group[number].caller, found.get(number))
                known = known_answer(group[number].key, context, currency=context["currency"])
                if known:
                    results[number] = known
                else:
                    new[number] = _order_row(group[number], context, rounding=self._rounding)
            except DomainError as error:
                results[number] = error
        wanted = {number: (group[number], row) for number, row in new.items()}
        results.update(await _number_and_write(connection, wanted, found))
        return [results[number] for number in range(len(group))]


async def _number_and_write(
    connection: Connection, new: Mapping[int, tuple[Creation, dict[str, Any]]], contexts: Mapping[int, Row]
) -> dict[int, StoredAnswer]:
    if not new:
        return {}
    numbers = await allocate_numbers(connection, NumberKind.ORDER, [_day(contexts[number]) for number in new])
    answers: dict[int, StoredAnswer] = {}
    for (number, (_, row)), order_number in zip(new.items(), numbers, strict=True):
        row["order_number"] = order_number
        answers[number] = StoredAnswer(201, render(order_fields(row)), resource_id=row["id"], is_replay=False)
    to_store = [
        AnswerToStore(row["merchant_id"], creation.key, answers[number], contexts[number]["is_taken"])
        for number, (creation, row) in new.items()
    ]
    records = await record_rows(connection, to_store)
    await write_orders(connection, [{**row, **_by(creation)} for creation, row in new.values()], records)
    return answers


_INITIAL_STATES: Mapping[bool, Mapping[str, Any]] = {
    False: {"status": ORDER.initial[0], "version": 1},
    True: {"status": OrderStatus.OPEN, "version": 2},
}
"""Whether an order is submitted when it is created → the status and version of its row."""


def _day(context: Row) -> StoreDay:
    on = business_date(context["now"], time_zone=context["time_zone"], cut_off=context["cut_off"])
    return StoreDay(context["store_id"], on, context["merchant_id"])


def _by(creation: Creation) -> dict[str, Any]:
    caller = creation.caller
    return {"caller_type": caller.type, "caller_id": caller.id, "request_id": creation.request_id}


def _order_row(creation: Creation, context: Row, *, rounding: TaxRounding) -> dict[str, Any]:
    """Return the new order as the answer will show it, except its number.

    Raises ``InvalidRequest`` (the discount or the total is out of range).
    """
    request, caller = creation.request, creation.caller
    now: datetime = context["now"]
    currency = request.currency or context["currency"]
    totals = compute_totals(
        request.lines, discount_amount=request.discount_amount, currency=currency, rounding=rounding
    )
    if request.is_submitted and totals.total_amount == 0:
        raise InvalidRequest(Detail("items", "Must add up to more than 0 before the order can be submitted"))
    row = {
        "id": new_id("order"),
        "merchant_id": context["merchant_id"],
        "store_id": context["store_id"],
        "device_id": caller.id if caller.role is CallerRole.DEVICE else None,
        "order_type": request.order_type,
        "table_number": request.table_number,
        **_INITIAL_STATES[request.is_submitted],
        "currency": currency,
        "subtotal": totals.subtotal,
        "tax_amount": totals.tax_amount,
        "discount_amount": totals.discount_amount,
        "total_amount": totals.total_amount,
        "created_at": now,
        "updated_at": now,
        "submitted_at": now if request.is_submitted else None,
    }
    return {**row, "items": item_rows(row, request.lines), "bill_ids": []}


def _lookup_row(number: int, creation: Creation) -> dict[str, Any]:
    store_id = resolve_store(creation.caller, creation.request.store_id)
    return lookup_row(number, creation.caller, creation.key, store_id=store_id)
