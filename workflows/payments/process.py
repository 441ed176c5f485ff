"""Process: claim payments, call their providers, record the answers. How that is carried is in ``hands``."""

from collections.abc import Sequence
from datetime import timedelta

from workflows.payments.claim import PAYMENTS
from workflows.payments.record import record_answers
from workflows.processing.executor import Aftermath, Hands, Work
from workflows.processing.leases import Claim
from workflows.processing.next_step import Step
from workflows.providers.base import Answer, Charge, Provider
from workflows.providers.registry import Providers, longest_call_seconds, settle
from workflows.settings import Settings


class Processor(Hands[Charge]):
    """The payments that this process has in hand. One per process; lives on one event loop."""

    def __init__(
        self, settings: Settings, providers: Providers, *, worker: str, aftermath: Sequence[Aftermath] = ()
    ) -> None:
        work = Work(PAYMENTS, ask=_ask, settle=_settle, record=record_answers)
        super().__init__(work, settings=settings, providers=providers, worker=worker, aftermath=aftermath)


async def _ask(provider: Provider, claimed: Claim[Charge], not_after: float) -> Answer:
    if claimed.step is Step.ASK:
        return await provider.inquire(claimed.asked)
    if claimed.step is Step.WITHDRAW:
        return await provider.withdraw(claimed.asked)
    if claimed.step is Step.REVERSE:
        return await provider.reverse(claimed.asked)
    return await provider.charge(claimed.asked, not_after=not_after)


def _settle(claimed: Claim[Charge]) -> Answer | None:
    return settle(claimed.provider, claimed.asked)


def longest_step(settings: Settings) -> timedelta:
    """The longest one step may take, which a lease must outlast (checked when a worker starts)."""
    return timedelta(seconds=longest_call_seconds(settings) + settings.statement_timeout_ms / 1000)
