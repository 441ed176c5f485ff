"""Define the workload of refunds: what a claim reads, which request a provider gets, and how the answer is recorded."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.payments.workload import PaymentWorkload
from workflows.processing.leases import Claim, common_facts
from workflows.processing.next_step import SENDS, Attempt, Facts, Step
from workflows.processing.workload import AnsweredClaim, Workload, no_call_error
from workflows.providers.base import Answer, ChargeRefund, Provider
from workflows.providers.registry import refund_locally
from workflows.refunds.late_cancels import refund_late_cancels
from workflows.refunds.models import ClaimedRefund
from workflows.refunds.record import record_refunds, record_refunds_alone

NO_EXPIRY = datetime.max.replace(tzinfo=UTC)
"""The expiry of every refund. It never comes, because the customer is owed the money."""

LONGEST_WAIT = timedelta(hours=1)
"""How long a provider that accepted a refund may leave it open before a person has to review it."""


class RefundWorkload(Workload[ChargeRefund]):
    """The workload of refunds, which are requested from the provider of their payment, or inquired about."""

    entity = "refund"
    columns = """r.payment_id, r.amount, r.currency, r.metadata, r.created_at, r.report, (
        SELECT a.reference FROM payment_attempts a
        WHERE a.payment_id = r.payment_id AND a.outcome = 'succeeded' ORDER BY a.number DESC LIMIT 1
    ) AS charge_reference, (SELECT p.bill_id FROM payments p WHERE p.id = r.payment_id) AS bill_id"""
    startable = "AND NOT needs_action"  # even if a message names it: the money has not been refunded yet

    def facts(self, row: ClaimedRefund, attempt: Attempt | None) -> Facts:
        """Return the facts that decide the next step. A refund neither expires nor is cancelled."""
        return common_facts(
            row,
            attempt,
            amount=row["amount"],
            expires_at=NO_EXPIRY,
            overdue_after=row["created_at"] + LONGEST_WAIT,
            cancel_requested=False,
        )

    def build_request(self, row: ClaimedRefund, facts: Facts, reference: str) -> ChargeRefund:
        """Return the refund to request from the provider, or to inquire about."""
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
        """Return the result of a refund that a person carried out, or ``None`` if a provider must be called.

        A refund that still needs action is never claimed.
        """
        return refund_locally(claim.provider, claim.request)

    async def call_provider(self, provider: Provider, claim: Claim[ChargeRefund], *, not_after: float) -> Answer:  # noqa: ARG002
        """Make the provider call of the claim's step, however late: the customer is still owed the money."""
        if claim.step in SENDS:
            return await provider.refund(claim.request)
        if claim.step is Step.INQUIRE:
            return await provider.inquire_refund(claim.request)
        raise no_call_error(claim.step)

    def is_alone(self, claim: Claim[ChargeRefund]) -> bool:
        """Return whether the payment of the refund has no bill."""
        return claim.bill_id is None

    async def record_alone(self, group: list[AnsweredClaim[ChargeRefund]], *, worker: str) -> dict[str, str]:
        """Record refunds of payments without bills in one statement (``record.record_refunds_alone``)."""
        return await record_refunds_alone(group, worker=worker)

    async def record(
        self, connection: AsyncConnection, group: list[AnsweredClaim[ChargeRefund]], *, worker: str
    ) -> dict[str, str]:
        """Record answers and everything that follows from them (``record.record_refunds``)."""
        return await record_refunds(connection, group, worker=worker)


PAYMENTS = PaymentWorkload(refund_late_cancels)
"""The workload of payments. It is built here because ``refunds`` imports ``payments``, never the reverse."""

REFUNDS = RefundWorkload()
"""The workload of refunds."""
