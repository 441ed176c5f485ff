"""Process: claim refunds, ask their providers, record the answers. How that is carried is in ``payments.hands``."""

from collections.abc import Sequence

from workflows.processing.executor import Aftermath, Hands, Work
from workflows.processing.leases import Claim
from workflows.processing.next_step import Step
from workflows.providers.base import Answer, GiveBack, Provider
from workflows.providers.registry import Providers, give_back
from workflows.refunds.claim import REFUNDS
from workflows.refunds.record import record_refunds
from workflows.settings import Settings


class RefundProcessor(Hands[GiveBack]):
    """The refunds that this process has in hand. One per process; lives on one event loop."""

    def __init__(
        self, settings: Settings, providers: Providers, *, worker: str, aftermath: Sequence[Aftermath] = ()
    ) -> None:
        work = Work(REFUNDS, ask=_ask, settle=_settle, record=record_refunds)
        super().__init__(work, settings=settings, providers=providers, worker=worker, aftermath=aftermath)


async def _ask(provider: Provider, claimed: Claim[GiveBack], _not_after: float) -> Answer:
    """Ask the provider, however late: the customer is still owed the money."""
    if claimed.step is Step.ASK:
        return await provider.inquire_refund(claimed.asked)
    return await provider.give_back(claimed.asked)


def _settle(claimed: Claim[GiveBack]) -> Answer | None:
    """Return the result of a refund at the till; a refund that still needs action is never claimed."""
    return give_back(claimed.provider, claimed.asked)
