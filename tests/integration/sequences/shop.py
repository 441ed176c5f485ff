"""A shop that tries steps with orders, bills, payments and refunds in any order.

A step is a verb and three small numbers that choose among the existing rows. So any list of steps can be played, and
hypothesis can shorten a list and play the rest. Common choices are drawn often (the newest row, the whole amount, a full
refund), because situations that need several matching steps hardly ever occur by chance. The product decides whether a step
is allowed: a refusal is a normal outcome. ``store_audit`` checks the rows after each step.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
import psycopg
from psycopg.rows import DictRow

from tests.factories import CASH, QR, TERMINAL, build_key
from tests.fakes import FakeProvider
from tests.integration.refunds.refund_helpers import RefundMaker
from tests.integration.sequences.step_preconditions import SUITED
from tests.integration.sequences.time_passing import TIME_PASSES
from workflows.bills.create import bill_orders
from workflows.bills.void_and_split import BillSplit, split_bill, void_bill
from workflows.errors import DomainError, ResourceNotFound
from workflows.ids import new_id
from workflows.orders.change import OrderChange, cancel_order, change_order, complete_order, submit_order
from workflows.orders.create import Creation, OrderIntake, OrderRequest
from workflows.orders.totals import OrderLine, TaxRounding
from workflows.providers.base import Declined, Outcome, Unavailable, Unknown
from workflows.refunds.report_manual_refund import report_refund
from workflows.requests.idempotency import Key, StoredAnswer

HALF_UP = TaxRounding.HALF_UP
METHODS = (QR, QR, CASH, TERMINAL, replace(TERMINAL, facts={"external_result": "declined"}))
PRICES = (1, 3, 34, 100, 999)
RATES = (Decimal(0), Decimal("0.08"), Decimal("0.10"))
CURRENCIES = ("JPY", "JPY", "JPY", "JPY", "USD", "KWD")
TIPS = (0, 0, 7, 150)  # none, less than most bills, more than many
LATEST = 6  # the number of newest rows of each kind that steps choose from
ANY = 6  # from this number on, a step chooses from all of them, suitable or not
HIGHEST = 7
SALE = 500  # the amount of a payment without a bill
FATES = ("approve", "approve", "approve", "approve", "decline", "away", "lost before", "lost after")
LONG_SECONDS = 61  # the time that must lie between two not-founds
ROUNDS_TO_THE_END = 12  # five retries, an unknown outcome, and some to spare
FINAL = {"payments": ("completed", "failed", "cancelled", "refunded"), "refunds": ("completed", "failed")}


class Step(NamedTuple):
    """A step to try. The numbers choose the row, the amount and the variant."""

    verb: str
    which: int = 0
    much: int = 0
    way: int = 0
    fate: str = "approve"


class Shop:
    """A store, and everything that was created in it."""

    def __init__(self, maker: RefundMaker, provider: FakeProvider, admin: psycopg.AsyncConnection[DictRow]) -> None:
        self.tenant = maker.tenant
        self.maker, self.provider, self.admin = maker, provider, admin
        self.ordering = OrderIntake(tax_rounding=HALF_UP, timeout_seconds=30)
        self.made: dict[str, list[str]] = {"orders": [], "bills": [], "payments": [], "refunds": []}
        self.due: dict[str, int] = {}  # by payment, including the tip
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    async def take(self, step: Step) -> None:
        """Try ``step``, and count it as done or as refused."""
        try:
            await ACTS[step.verb](self, step)
            self.done[step.verb] += 1
        except DomainError as refusal:
            self.refused[f"{step.verb}: {refusal.code}"] += 1

    async def order(self, step: Step) -> None:
        lines = tuple(
            OrderLine("dish", 1 + (step.much + n) % 3, PRICES[(step.much + n) % 5], RATES[(step.which + n) % 3])
            for n in range(1 + step.which % 3)
        )
        request = OrderRequest(
            order_type="dine_in",
            table_number="7",
            lines=lines,
            discount_amount=step.much % 4,
            currency=CURRENCIES[step.much % 6],
            is_submitted=step.way % 3 != 2,
        )
        creation = Creation(request, self.tenant.device, self._key("/orders"), new_id("request"))
        self._keep("orders", await self.ordering.create_order(creation))

    async def submit(self, step: Step) -> None:
        await submit_order(await self._one(step), **self._who())

    async def change(self, step: Step) -> None:
        lines = (OrderLine("other", 1, PRICES[step.much % 5], RATES[step.much % 3]),)
        change = OrderChange(lines=lines, discount_amount=step.much % 2, particulars={})
        await change_order(await self._one(step), change, rounding=HALF_UP, **self._who())

    async def cancel_order(self, step: Step) -> None:
        await cancel_order(await self._one(step), **self._who())

    async def complete(self, step: Step) -> None:
        await complete_order(await self._one(step), **self._who())

    async def bill(self, step: Step) -> None:
        order_id = await self._one(step)
        self._keep("bills", await bill_orders([order_id], field="order_id", key=self._key("/bills"), **self._who()))

    async def combine(self, step: Step) -> None:
        ids = [await self._one(step), await self._one(step._replace(which=step.which + 1 + step.way % 2))]
        key = self._key("/bills/combine")
        self._keep("bills", await bill_orders(list(dict.fromkeys(ids)), field="order_ids", key=key, **self._who()))

    async def split(self, step: Step) -> None:
        """Split a bill: into equal parts, by two amounts, or by its items."""
        bill_id = await self._one(step)
        bill = await self._bill(bill_id)
        total, items = bill["total_amount"], bill["item_ids"] or ["itm_none", "itm_nothing"]
        first = step.much % total + 1
        cut = 1 + step.much % max(len(items) - 1, 1)
        how = (
            BillSplit(parts=2 + step.much % 3),
            BillSplit(amounts=(first, max(total - first, 1))),
            BillSplit(items=(tuple(items[:cut]), tuple(items[cut:]))),
        )[step.way % 3]
        stored = await split_bill(bill_id, how, key=self._key(f"/bills/{bill_id}/split"), **self._who())
        self.made["bills"] += [part["id"] for part in orjson.loads(stored.body)["data"]]

    async def void(self, step: Step) -> None:
        await void_bill(await self._one(step), **self._who())

    async def pay(self, step: Step) -> None:
        """Accept a payment: of the balance of a bill, of part of it, of the bill's total, or without a bill."""
        bill_id = await self._one(step) if step.way % 8 != 7 else None
        sale: DictRow = {"total_amount": SALE, "owed": SALE, "currency": "JPY"}
        bill = await self._bill(bill_id) if bill_id else sale
        owed = bill["owed"] or 1
        amount = (owed, owed, owed, (owed + 1) // 2, 1 + step.much % owed, bill["total_amount"])[step.way % 6]
        tip = TIPS[step.much % 4]
        payment_id = await self.maker.payments.pending(
            METHODS[(step.which + step.much) % len(METHODS)],
            amount=amount,
            tip_amount=tip,
            currency=bill["currency"],
            bill_id=bill_id,
            on_too_late="refund" if step.much % 3 == 0 else None,
        )
        self.made["payments"].append(payment_id)
        self.due[payment_id] = amount + tip

    async def work(self, step: Step) -> None:
        """Let a worker process one payment; the step's fate decides what the provider does."""
        payment_id = await self._one(step)
        await self._with_fate(step.fate, "charge", self.maker.payments.process, payment_id, self.due[payment_id])

    async def cancel(self, step: Step) -> None:
        asked = "refund" if step.much % 2 else None
        payment_id = await self._one(step)
        await self.maker.payments.cancel(payment_id, on_too_late=asked)
        await self._learn_of("refunds")

    async def refund(self, step: Step) -> None:
        """Request a refund of the rest of a payment, or of some fifths of its amount."""
        payment_id = await self._one(step)
        due = self.due[payment_id]
        amount = None if step.way % 2 else max(due * (1 + step.much % 5) // 5, 1)
        refund_id = await self.maker.pending(payment_id, amount)
        self.made["refunds"].append(refund_id)

    async def make_refund(self, step: Step) -> None:
        """Let a worker process one refund."""
        refund_id = await self._one(step)
        found = await self.admin.execute("SELECT amount FROM refunds WHERE id = %s", [refund_id])
        row = await found.fetchone()
        assert row
        await self._with_fate(step.fate, "refund", self.maker.process, refund_id, row["amount"])

    async def report(self, step: Step) -> None:
        """Report a refund that a person has to carry out, approved three times out of four."""
        result = "declined" if step.much % 4 == 3 else "approved"
        await report_refund(await self._one(step), {"result": result}, **self._who())

    async def time(self, _step: Step) -> None:
        """Let a minute pass for all unfinished rows, and let workers process the rows that are due."""
        for statement in TIME_PASSES:
            await self.admin.execute(statement.encode(), {"store": self.tenant.store_id, "seconds": LONG_SECONDS})
        for name, process in (("payments", self.maker.payments.process), ("refunds", self.maker.process)):
            due = await self._open(name)
            await self._learn_of(name)
            if due:
                await process(*due)

    async def _learn_of(self, name: str) -> None:
        """Add rows that no step created, such as refunds after a late cancel."""
        self.made[name] += [row_id for row_id in await self._open(name) if row_id not in self.made[name]]

    async def to_the_end(self) -> dict[str, list[str]]:
        """Let time pass with a provider that approves everything, and return the ids of unfinished rows."""
        for _ in range(ROUNDS_TO_THE_END):
            if not any([await self._open(name) for name in FINAL]):
                break
            for refund_id in await self._open("refunds", "AND needs_action"):
                await report_refund(refund_id, {"result": "approved"}, **self._who())
            await self.time(Step("time"))
        return {name: await self._open(name) for name in FINAL}

    async def _open(self, name: str, condition: str = "") -> list[str]:
        query = f"""SELECT id FROM {name} WHERE store_id = %s AND status IN ('pending', 'processing') {condition}
                    ORDER BY id"""
        return [
            row["id"] for row in await (await self.admin.execute(query.encode(), [self.tenant.store_id])).fetchall()
        ]

    async def _with_fate(
        self, fate: str, call: str, process: Callable[..., Awaitable[None]], row_id: str, amount: int
    ) -> None:
        outcomes: dict[str, Outcome] = {
            "decline": Declined("no"),
            "away": Unavailable("503"),
            "lost before": Unknown("read time-out"),
            "lost after": Unknown("read time-out"),
        }
        script = self.provider.charges if call == "charge" else self.provider.refunds
        script.clear()
        if fate in outcomes:
            script.append(outcomes[fate])
        heard = len(self.provider.calls)
        await process(row_id)
        script.clear()
        for kind, reference in self.provider.calls[heard:]:
            if fate == "lost after" and kind == call:
                self.provider.moved.setdefault(reference, amount)

    async def _one(self, step: Step) -> str:
        """Return the id of one of the newest rows of the kind that ``step`` acts on.

        ``step.which`` selects the row, 0 being the newest, among the rows in a suitable status or among all rows.

        Raises ``ResourceNotFound`` if there is no row.
        """
        table, condition = SUITED[step.verb]
        latest = self.made[table][-LATEST:]
        query = f"SELECT id FROM {table} e WHERE id = ANY(%s) AND {condition} ORDER BY id"
        rows = await (await self.admin.execute(query.encode(), [latest])).fetchall()
        suited = [row["id"] for row in rows]
        found = latest if step.which >= ANY else suited or latest
        if not found:
            raise ResourceNotFound()
        return str(found[-1 - step.which % len(found)])

    async def _bill(self, bill_id: str) -> DictRow:
        """Return the bill's row, with its open balance as ``owed``."""
        query = b"SELECT *, total_amount - paid_amount - reserved_amount AS owed FROM bills WHERE id = %s"
        row = await (await self.admin.execute(query, [bill_id])).fetchone()
        assert row
        return row

    def _keep(self, what: str, stored: StoredAnswer) -> None:
        self.made[what].append(orjson.loads(stored.body)["id"])

    def _key(self, path: str) -> Key:
        return build_key(self.tenant.device, path)

    def _who(self) -> dict[str, Any]:
        return {"caller": self.tenant.device, "request_id": new_id("request")}


ACTS: dict[str, Callable[[Shop, Step], Awaitable[None]]] = {
    "order": Shop.order,
    "submit": Shop.submit,
    "change": Shop.change,
    "cancel order": Shop.cancel_order,
    "complete": Shop.complete,
    "bill": Shop.bill,
    "combine": Shop.combine,
    "split": Shop.split,
    "void": Shop.void,
    "pay": Shop.pay,
    "work": Shop.work,
    "cancel": Shop.cancel,
    "refund": Shop.refund,
    "give back": Shop.make_refund,
    "report": Shop.report,
    "time": Shop.time,
}
OFTEN = (
    *("pay", "pay", "pay", "work", "work", "work", "refund", "refund", "give back", "give back", "bill", "split"),
    *("order", "order", "time", "cancel order"),
)
"""Verbs that are drawn more often: faults need money in progress, and only these verbs bring payments to their end."""
