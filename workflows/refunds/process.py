"""Process: claim refunds, ask their providers, record the answers. How that is carried is in ``payments.hands``."""

from collections.abc import Sequence

from workflows.bills.lock import HeldUp, Locking
from workflows.payments.hands import Answered, Hands, Work
from workflows.payments.next_step import Step
from workflows.payments.record import Aftermath
from workflows.providers.base import Answer, Provider, Succeeded
from workflows.providers.registry import Providers, is_local
from workflows.refunds.claim import REFUNDS, ClaimedRefund
from workflows.refunds.record import record_refunds
from workflows.settings import Settings


class RefundProcessor(Hands[ClaimedRefund]):
    """The refunds that this process has in hand. One per process; lives on one event loop."""

    def __init__(
        self, settings: Settings, providers: Providers, *, worker: str, aftermath: Sequence[Aftermath] = ()
    ) -> None:
        async def claim(ids: list[str]) -> list[ClaimedRefund]:
            return await REFUNDS.claim(ids, worker=worker, lease_seconds=settings.lease_seconds)

        async def record(group: list[Answered[ClaimedRefund]], locking: Locking) -> list[str | HeldUp | None]:
            return await record_refunds(group, worker=worker, aftermath=aftermath, locking=locking)

        work = Work(name="refund", claim=claim, suspects=REFUNDS.suspects, ask=_ask, settle=_settle, record=record)
        super().__init__(work, settings=settings, providers=providers)


async def _ask(provider: Provider, claimed: ClaimedRefund) -> Answer:
    if claimed.step is Step.ASK:
        return await provider.inquire_refund(claimed.refund.reference)
    return await provider.give_back(claimed.refund)


def _settle(claimed: ClaimedRefund) -> Answer | None:
    """Cash is handed over and the terminal's card application has refunded when the request comes: it is recorded."""
    return Succeeded(amount=claimed.refund.amount) if is_local(claimed.provider) else None
