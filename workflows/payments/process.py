"""Process: claim payments, call their providers, record the answers. How that is carried is in ``hands``."""

from collections.abc import Sequence
from datetime import timedelta

from workflows.bills.lock import HeldUp, Locking
from workflows.payments.claim import PAYMENTS, Claimed, claim_payments
from workflows.payments.hands import Answered, Hands, Work
from workflows.payments.next_step import Step
from workflows.payments.record import Aftermath, record_answers
from workflows.providers.base import Answer, Provider
from workflows.providers.registry import Providers, longest_call_seconds, settle
from workflows.settings import Settings


class Processor(Hands[Claimed]):
    """The payments that this process has in hand. One per process; lives on one event loop."""

    def __init__(
        self, settings: Settings, providers: Providers, *, worker: str, aftermath: Sequence[Aftermath] = ()
    ) -> None:
        async def claim(ids: list[str]) -> list[Claimed]:
            return await claim_payments(ids, worker=worker, lease_seconds=settings.lease_seconds)

        async def record(group: list[Answered[Claimed]], locking: Locking) -> list[str | HeldUp | None]:
            return await record_answers(group, worker=worker, aftermath=aftermath, locking=locking)

        work = Work(name="payment", claim=claim, suspects=PAYMENTS.suspects, ask=_ask, settle=_settle, record=record)
        super().__init__(work, settings=settings, providers=providers)


async def _ask(provider: Provider, claimed: Claimed) -> Answer:
    if claimed.step is Step.ASK:
        return await provider.inquire(claimed.charge.reference)
    if claimed.step is Step.WITHDRAW:
        return await provider.withdraw(claimed.charge.reference)
    return await provider.charge(claimed.charge)


def _settle(claimed: Claimed) -> Answer | None:
    return settle(claimed.provider, claimed.charge)


def longest_step(settings: Settings) -> timedelta:
    """The longest one step may take, which a lease must outlast (checked when a worker starts)."""
    return timedelta(seconds=longest_call_seconds(settings) + settings.statement_timeout_ms / 1000)
