"""Request and process refunds through use-cases only, and read what the database has about them."""

from collections.abc import Sequence
from typing import Any

import orjson
import psycopg
import uuid_utils
from psycopg.rows import DictRow

from tests import factories
from tests.factories import QR, WHY, PaymentMaker, Tenant, submit_refund
from tests.harness import Answer, Api
from tests.integration.payments.evidence import Evidence, all_of, evidence_of, seconds_until
from workflows.payments.check_request import PaymentRequest
from workflows.processing.executor import LeaseExecutor
from workflows.providers.registry import Providers
from workflows.refunds.workload import REFUNDS
from workflows.requests.idempotency import StoredAnswer
from workflows.settings import Settings

Admin = psycopg.AsyncConnection[DictRow]


class RefundMaker:
    """Create completed payments of one tenant, and their refunds."""

    def __init__(self, settings: Settings, providers: Providers, tenant: Tenant) -> None:
        self.tenant = tenant
        self.payments = PaymentMaker(settings, providers, tenant)
        self.processor = LeaseExecutor(REFUNDS, settings=settings, providers=providers, worker="worker-of-the-test")

    async def paid(self, request: PaymentRequest = QR, **changes: Any) -> str:
        """Return the id of a completed payment; by default 1,000 yen by a customer's QR code."""
        payment_id = await self.payments.pending(request, **changes)
        await self.payments.process(payment_id)
        return payment_id

    async def ask(self, payment_id: str, amount: int | None = None, **rest: Any) -> StoredAnswer:
        """Request a refund as POST /payments/{id}/refund does; by default as the tenant's device."""
        return await submit_refund(payment_id, amount, **{"caller": self.tenant.device, **rest})

    async def pending(self, payment_id: str, amount: int | None = None, **rest: Any) -> str:
        """Request a refund, and return its id."""
        stored = await self.ask(payment_id, amount, **rest)
        assert stored.resource_id is not None
        return stored.resource_id

    async def process(self, *refund_ids: str) -> None:
        """Process refunds as a worker does after a nudge."""
        await self.processor.process(list(refund_ids))

    async def refunded(self, payment_id: str, amount: int | None = None, **rest: Any) -> str:
        """Request a refund that a worker then processes once, and return its id."""
        refund_id = await self.pending(payment_id, amount, **rest)
        await self.process(refund_id)
        return refund_id


async def evidence(admin: Admin, refund_id: str) -> Evidence:
    """Return the rows of a refund, after checking its history."""
    return await evidence_of(admin, "refund", refund_id)


async def sums(admin: Admin, payment_id: str) -> tuple[str, int, int]:
    """Return the payment's status, reserved and refunded amounts; assert invariant I4."""
    (row,) = await all_of(
        admin,
        b"""SELECT p.status, p.captured_amount, p.refund_reserved, p.refunded_amount,
                   coalesce(sum(r.amount) FILTER (WHERE r.status <> 'failed'), 0) AS live,
                   coalesce(sum(r.amount) FILTER (WHERE r.status = 'completed'), 0) AS given_back
            FROM payments p LEFT JOIN refunds r ON r.payment_id = p.id WHERE p.id = %s GROUP BY p.id""",
        payment_id,
    )
    assert (row["refund_reserved"], row["refunded_amount"]) == (row["live"], row["given_back"])
    assert row["refunded_amount"] <= row["refund_reserved"] <= row["captured_amount"]
    return row["status"], row["refund_reserved"], row["refunded_amount"]


async def time_passes(admin: Admin, refund_id: str, *, seconds: float) -> None:
    """Simulate that ``seconds`` passed for one refund (``factories.time_passes``)."""
    await factories.time_passes(admin, refund_id, seconds=seconds, entity="refund")


async def seconds_until_due(admin: Admin, refund_id: str) -> float:
    """Return the seconds until the refund is due, by the database's clock."""
    return await seconds_until(admin, refund_id, "due_at", entity="refund")


async def process_when_due(refunds: RefundMaker, admin: Admin, refund_id: str, *, after: float = 0) -> None:
    """Advance time until the refund is due, at least by ``after`` seconds, and process it."""
    left = await seconds_until_due(admin, refund_id)
    await time_passes(admin, refund_id, seconds=max(left, after) + 0.1)
    await refunds.process(refund_id)


async def bill_row(admin: Admin, bill_id: str) -> dict[str, Any]:
    """Return the bill's row."""
    (row,) = await all_of(admin, b"SELECT * FROM bills WHERE id = %s", bill_id)
    return row


async def bill_events(admin: Admin, bill_id: str, *, of: Sequence[str]) -> list[tuple[str, str]]:
    """Return the history events that these payments and refunds caused on a bill.

    Each event comes with the resulting status.
    """
    rows = await all_of(
        admin,
        b"SELECT event, to_status FROM bill_history WHERE bill_id = %s AND reason = ANY(%s) ORDER BY version",
        bill_id,
        list(of),
    )
    return [(row["event"], row["to_status"]) for row in rows]


async def post_refund(api: Api, as_: Tenant | str, payment_id: str, *, key: str | None = None, **fields: Any) -> Answer:
    """Send POST /payments/{id}/refund; without an ``amount`` in ``fields``, it refunds the rest."""
    body = {**WHY, **fields}
    return await api.post(f"/payments/{payment_id}/refund", body, as_=as_, key=key or uuid_utils.uuid7().hex)


def shown(stored: StoredAnswer) -> dict[str, Any]:
    """Return the body of a stored answer."""
    body: dict[str, Any] = orjson.loads(stored.body)
    return body
