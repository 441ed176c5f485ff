"""Lock bills for the rest of a transaction, always in id order, and write their changes.

A transaction that holds these locks may then lock payments, then refunds and finally orders, never in another sequence
(`docs/decisions/0004`). The bills of one order have separate locks, so paying one part does not delay the others.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.balance import Balance, BillStep, balance_of
from workflows.bills.models import BillRow
from workflows.database.engines import rows_parameter
from workflows.transitions import ChangeContext

_LOCK = text("""
    -- lock: these bills, in id order; FOR NO KEY UPDATE, so that bills which refer to a locked one can still be inserted
    SELECT * FROM bills WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE
""")

_LOCK_UNLOCKED = text("""
    -- lock unlocked: these bills, except those that another transaction has locked
    SELECT id FROM bills WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
""")

# clock_timestamp() and not now(), because the transaction may have waited for the lock, and times must not decrease from one
# version to the next (I14). It is evaluated once per statement.
_HISTORY = """
    INSERT INTO bill_history (bill_id, version, merchant_id, store_id, event, from_status, to_status, at, caller_type,
                              caller_id, reason, request_id)
    SELECT s.bill_id, s.version, m.merchant_id, m.store_id, s.event, s.source, s.target, (SELECT clock_timestamp()),
           s.caller_type, s.caller_id, s.reason, s.request_id
    FROM updated m JOIN jsonb_to_recordset(CAST(:steps AS jsonb)) AS s(
        bill_id text, version integer, event text, source text, target text, caller_type text, caller_id text,
        reason text, request_id text) ON s.bill_id = m.id
"""

WRITE_RESERVED = text(f"""
    -- reserved: write only the reserved amount of each locked bill, with a history row for every step
    WITH news AS (
        SELECT * FROM jsonb_to_recordset(CAST(:bills AS jsonb)) AS n(id text, reserved bigint, version integer)
    ), updated AS (
        UPDATE bills b SET reserved_amount = n.reserved, version = n.version, updated_at = clock_timestamp()
        -- The array of ids repeats the join's condition: without it, a cached plan may scan all bills.
        FROM news n WHERE b.id = ANY(ARRAY(SELECT id FROM news)) AND b.id = n.id RETURNING b.id, b.merchant_id, b.store_id
    )
    {_HISTORY}
""")

WRITE_AMOUNTS = text(f"""
    -- amounts: write all amounts and the status of each locked bill, with a history row for every step
    WITH news AS (
        SELECT * FROM jsonb_to_recordset(CAST(:bills AS jsonb)) AS n(id text, status text, paid bigint, reserved bigint,
            refunded bigint, version integer)
    ), updated AS (
        UPDATE bills b SET status = n.status, paid_amount = n.paid, reserved_amount = n.reserved,
            refunded_amount = n.refunded, version = n.version, updated_at = clock_timestamp(),
            paid_at = CASE WHEN n.status = 'paid' THEN coalesce(b.paid_at, clock_timestamp()) END
        FROM news n WHERE b.id = ANY(ARRAY(SELECT id FROM news)) AND b.id = n.id RETURNING b.id, b.merchant_id, b.store_id
    )
    {_HISTORY}
""")


@dataclass(frozen=True, slots=True)
class BillAmount:
    """The amount that a payment or refund changes on its bill, in minor units and without the tip.

    ``cause_id`` is the id of the payment or refund. It becomes the reason in the bill's history.
    """

    bill_id: str
    cause_id: str
    amount: int
    by: ChangeContext


@dataclass(slots=True)
class LockedBill:
    """A locked bill, and the steps that were applied to it and are not written yet."""

    row: BillRow
    balance: Balance
    version: int
    steps: list[dict[str, Any]] = field(default_factory=list)

    def apply_step(self, step: BillStep, bill_amount: BillAmount) -> None:
        """Apply ``step``: add a version, and a history row whose reason is the id of the payment or refund."""
        self.version += 1
        self.steps.append(
            {
                "bill_id": self.row["id"],
                "version": self.version,
                "event": step.event,
                "source": self.balance.status,
                "target": step.after.status,
                "caller_type": bill_amount.by.caller_type,
                "caller_id": bill_amount.by.caller_id,
                "reason": bill_amount.cause_id,
                "request_id": bill_amount.by.request_id,
            }
        )
        self.balance = step.after


async def lock_bills(connection: AsyncConnection, bill_ids: Iterable[str]) -> dict[str, LockedBill]:
    """Lock the given bills that the transaction may see, and return them by id.

    Locking bills again that the transaction has locked already costs one statement and never waits.
    """
    ids = sorted(set(bill_ids))
    rows = (
        [cast(BillRow, dict(row)) for row in (await connection.execute(_LOCK, {"ids": ids})).mappings()] if ids else []
    )
    return {row["id"]: LockedBill(row, balance_of(row), row["version"]) for row in rows}


LockFunction = Callable[[AsyncConnection, Iterable[str | None]], Awaitable[set[str | None]]]
"""The type of ``lock_unlocked_bills`` and ``lock_all_bills``. Functions that record answers take either as a parameter.

Such a function locks bills and returns the ids of the bills that it locked. ``None`` stands for rows without a bill and is
always in the result.
"""


@dataclass(frozen=True, slots=True)
class BillLocked:
    """The result for a row that was not recorded because another transaction has locked its bill."""

    bill_id: str


async def lock_unlocked_bills(connection: AsyncConnection, bill_ids: Iterable[str | None]) -> set[str | None]:
    """Lock those of the given bills that no other transaction has locked, without waiting.

    So one locked bill does not delay a group of answers for many bills.
    """
    ids = sorted({bill_id for bill_id in bill_ids if bill_id})
    return {None, *(row.id for row in await connection.execute(_LOCK_UNLOCKED, {"ids": ids}))} if ids else {None}


async def lock_all_bills(connection: AsyncConnection, bill_ids: Iterable[str | None]) -> set[str | None]:
    """Lock all the given bills, and wait if needed.

    This is for answers of a single bill, where waiting delays no answers of other bills.
    """
    return {None, *await lock_bills(connection, (bill_id for bill_id in bill_ids if bill_id))}


async def write_bills(connection: AsyncConnection, statement: TextClause, bills: Iterable[LockedBill]) -> None:
    """Write the steps that were applied to ``bills``.

    ``statement`` is ``WRITE_RESERVED`` or ``WRITE_AMOUNTS``.
    """
    changed = [bill for bill in bills if bill.steps]
    if not changed:
        return
    rows = [
        {
            "id": bill.row["id"],
            "status": bill.balance.status,
            "paid": bill.balance.paid,
            "reserved": bill.balance.reserved,
            "refunded": bill.balance.refunded,
            "version": bill.version,
        }
        for bill in changed
    ]
    steps = [step for bill in changed for step in bill.steps]
    await connection.execute(statement, {"bills": rows_parameter(rows), "steps": rows_parameter(steps)})


async def apply_to_bills(
    connection: AsyncConnection,
    bill_amounts: Sequence[BillAmount],
    step: Callable[[Balance, int], BillStep],
    *,
    statement: TextClause,
) -> dict[str, LockedBill]:
    """Lock the bills of ``bill_amounts``, apply ``step`` for each amount in turn, and write the bills.

    It takes two statements. Return the bills by id.
    """
    bills = await lock_bills(connection, (bill_amount.bill_id for bill_amount in bill_amounts))
    for bill_amount in bill_amounts:
        bill = bills[bill_amount.bill_id]
        bill.apply_step(step(bill.balance, bill_amount.amount), bill_amount)
    await write_bills(connection, statement, bills.values())
    return bills
