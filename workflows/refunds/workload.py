"""Process refunds: what the ``LeaseExecutor`` claims, which request it sends, and how the answer is recorded."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.payments.workload import PaymentWorkload
from workflows.processing.leases import Claim, facts_of
from workflows.processing.next_step import SENDS, Attempt, Facts, Step
from workflows.processing.workload import Answered, Workload, no_call_error
from workflows.providers.base import Answer, ChargeRefund, Provider
from workflows.providers.registry import refund_locally
from workflows.refunds.late_cancels import refund_late_cancels
from workflows.refunds.models import ClaimedRefund
from workflows.refunds.record import record_refunds

NEVER = datetime.max.replace(tzinfo=UTC)
"""A requested refund does not expire: the customer is owed the money."""

LONGEST_WAIT = timedelta(hours=1)
"""How long a provider that accepted a refund may leave it open before a person has to know of it."""


class RefundWorkload(Workload[ChargeRefund]):
    """Refunds: sent to the provider of their payment, or inquired about."""

    entity = "refund"
    columns = """r.payment_id, r.amount, r.currency, r.metadata, r.created_at, r.report, (
        SELECT a.reference FROM payment_attempts a
        WHERE a.payment_id = r.payment_id AND a.outcome = 'succeeded' ORDER BY a.number DESC LIMIT 1
    ) AS charge_reference, (SELECT p.bill_id FROM payments p WHERE p.id = r.payment_id) AS bill_id"""
    startable = "AND NOT needs_action"  # even if a message names it: the money has not been refunded yet

    def facts(self, row: ClaimedRefund, attempt: Attempt | None) -> Facts:
        """Return what decides the next step. A refund neither expires nor is cancelled."""
        return facts_of(
            row,
            attempt,
            amount=row["amount"],
            expires_at=NEVER,
            overdue_after=row["created_at"] + LONGEST_WAIT,
            cancel_requested=False,
        )

    def build_request(self, row: ClaimedRefund, facts: Facts, reference: str) -> ChargeRefund:
        """Return the refund that the provider is asked for, or about."""
        return ChargeRefund(
            reference=reference,
            payment_id=row["payment_id"],
            account=row["store_id"],
            charge_reference=row["charge_reference"] or "",
            amount=facts.amount,
            currency=row["currency"],
            metadata=row["metadata"],
            report=row["report"] or {},
        )

    def answer_locally(self, claim: Claim[ChargeRefund]) -> Answer | None:
        """Return the result of a refund at the till. A refund that still needs action is never claimed."""
        return refund_locally(claim.provider, claim.request)

    async def call_provider(self, provider: Provider, claim: Claim[ChargeRefund], *, not_after: float) -> Answer:  # noqa: ARG002
        """Do the claim's step at the provider, however late: the customer is still owed the money."""
        if claim.step in SENDS:
            return await provider.refund(claim.request)
        if claim.step is Step.INQUIRE:
            return await provider.inquire_refund(claim.request)
        raise no_call_error(claim.step)

    async def record(
        self, connection: AsyncConnection, group: list[Answered[ChargeRefund]], *, worker: str
    ) -> dict[str, str]:
        """Record answers with all consequences (``record.record_refunds``)."""
        return await record_refunds(connection, group, worker=worker)


PAYMENTS = PaymentWorkload(refund_late_cancels)
"""The workload of payments; it stands here because refunds know payments, and payments do not know refunds."""

REFUNDS = RefundWorkload()
"""The workload of refunds."""
