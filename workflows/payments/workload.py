"""Define the workload of payments: what a claim reads, which request a provider gets, and how the answer is recorded.

A payment that expired before its first claim is claimed without an attempt, and cancelled without a call to its provider. A
reported sale (cash, the terminal's own card application) never expires, because the money has moved already.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.months import MARK
from workflows.payments.models import ClaimedPayment
from workflows.payments.record import RecordedHook, record_payments, record_payments_alone
from workflows.processing.leases import Claim, common_facts
from workflows.processing.next_step import SENDS, Attempt, Facts, Step
from workflows.processing.workload import AnsweredClaim, Workload, no_call_error
from workflows.providers.base import Answer, Charge, Provider
from workflows.providers.registry import charge_locally


class PaymentWorkload(Workload[Charge]):
    """The workload of payments, which are charged, inquired about, withdrawn or reversed.

    ``refund_late_cancels`` runs in the transaction that records payments. It is passed in because ``refunds`` imports
    ``payments``, never the reverse. The instance that the product uses is ``refunds.workload.PAYMENTS``.
    """

    entity = "payment"
    month = MARK
    columns = """r.amount, r.tip_amount, r.currency, r.method_type, r.method_mode, r.metadata, r.expires_at,
        r.cancel_requested_at, r.bill_id, r.provider_token, r.external_result, r.card_arn, r.slip_number"""
    # The SQL of ``Facts.is_unwanted``: if one changes, change both.
    unwanted = "(cancel_requested_at IS NOT NULL OR expires_at <= now())"
    # A payment that has expired gets no first attempt, unless it is reported (``Facts.is_local``).
    first_attempt = "CASE WHEN r.expires_at > now() OR r.processing_mode <> 'provider' THEN 1 ELSE 0 END"

    def __init__(self, refund_late_cancels: RecordedHook) -> None:
        self._refund_late_cancels = refund_late_cancels

    def facts(self, row: ClaimedPayment, attempt: Attempt | None) -> Facts:
        """Return the facts that decide the next step. The amount includes the tip."""
        return common_facts(
            row,
            attempt,
            amount=row["amount"] + row["tip_amount"],
            expires_at=row["expires_at"],
            cancel_requested=row["cancel_requested_at"] is not None,
        )

    def build_request(self, row: ClaimedPayment, facts: Facts, reference: str) -> Charge:
        """Return the charge to request from the provider, or to inquire about."""
        return Charge(
            reference=reference,
            payment_id=row["id"],
            account=row["store_id"],
            amount=facts.amount,
            currency=row["currency"],
            method_type=row["method_type"],
            method_mode=row["method_mode"],
            expires_in_seconds=(row["expires_at"] - row["now"]).total_seconds(),
            metadata=row["metadata"],
            terminal_data={
                "provider_token": row["provider_token"],
                "external_result": row["external_result"],
                "card_arn": row["card_arn"],
                "slip_number": row["slip_number"],
            },
        )

    def answer_locally(self, claim: Claim[Charge]) -> Answer | None:
        """Return the terminal's report as an answer, or ``None`` if a provider must be called."""
        return charge_locally(claim.provider, claim.request)

    async def call_provider(self, provider: Provider, claim: Claim[Charge], *, not_after: float) -> Answer:
        """Make the provider call of the claim's step. A charge is not sent after ``not_after``."""
        if claim.step in SENDS:
            return await provider.charge(claim.request, not_after=not_after)
        if claim.step is Step.INQUIRE:
            return await provider.inquire(claim.request)
        if claim.step is Step.WITHDRAW:
            return await provider.withdraw(claim.request)
        if claim.step is Step.REVERSE:
            return await provider.reverse(claim.request)
        raise no_call_error(claim.step)

    def is_alone(self, claim: Claim[Charge]) -> bool:
        """Return whether the payment has no bill."""
        return claim.bill_id is None

    async def record_alone(self, group: list[AnsweredClaim[Charge]], *, worker: str) -> dict[str, str]:
        """Record payments without bills in one statement (``record.record_payments_alone``)."""
        return await record_payments_alone(group, worker=worker)

    async def record(
        self, connection: AsyncConnection, group: list[AnsweredClaim[Charge]], *, worker: str
    ) -> dict[str, str]:
        """Record answers and everything that follows from them (``record.record_payments``)."""
        return await record_payments(connection, group, worker=worker, refund_late_cancels=self._refund_late_cancels)
