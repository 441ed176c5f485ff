"""Fake implementations of the product's protocols, with scripted answers. Tests never patch the product's own code."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from workflows.providers.base import (
    NEVER,
    Answer,
    Charge,
    ChargeRefund,
    NotFound,
    Outcome,
    StatementLine,
    Succeeded,
    Unavailable,
    Withdrawn,
)


@dataclass
class FakeProvider:
    """A provider that remembers its charges and refunds: it approves, and answers inquiries truthfully, unless scripted.

    ``charges``, ``inquiries`` and ``withdrawals`` are the next answers, in order. ``calls`` records every call that it
    received. After ``hold()``, a charge moves its money (``moved``) but does not answer.
    """

    name: str = "sandbox"
    deduplicates: bool = True
    max_processing_seconds: float = 60.0
    charges: deque[Outcome] = field(default_factory=deque)
    refunds: deque[Outcome] = field(default_factory=deque)
    inquiries: deque[Answer] = field(default_factory=deque)
    withdrawals: deque[Answer] = field(default_factory=deque)
    reversals: deque[Answer] = field(default_factory=deque)
    statements: list[list[StatementLine] | Unavailable] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    moved: dict[str, int] = field(default_factory=dict)
    not_after: float = NEVER
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    _free: asyncio.Event = field(default_factory=asyncio.Event)
    _answers: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.release()

    def hold(self) -> None:
        """Let charges and refunds hang until they are released."""
        self._free.clear()

    def hold_inquiries(self) -> None:
        """Let inquiries hang until they are released. The next one sets ``asked``."""
        self.asked.clear()
        self._answers.clear()

    def release_charges(self) -> None:
        """Answer the hanging charges and refunds, but not the inquiries."""
        self._free.set()

    def release(self) -> None:
        """Answer all hanging calls."""
        self._free.set()
        self._answers.set()

    async def charge(self, charge: Charge, *, not_after: float = NEVER) -> Outcome:
        """Return the next scripted outcome, or a success."""
        self.not_after = not_after
        self.calls.append(("charge", charge.reference))
        outcome = self.charges.popleft() if self.charges else Succeeded(charge.amount, f"ref-{charge.reference}")
        if isinstance(outcome, Succeeded):
            self.moved[charge.reference] = outcome.amount
        self.heard.set()
        await self._free.wait()
        return outcome

    async def inquire(self, charge: Charge) -> Answer:
        """Return the next scripted answer, or the true outcome of the charge."""
        reference = charge.reference
        self.calls.append(("inquire", reference))
        self.asked.set()
        await self._answers.wait()
        return self.inquiries.popleft() if self.inquiries else self._truth(reference)

    async def withdraw(self, charge: Charge) -> Answer:
        """Return the next scripted answer. By default: too late if the money moved, otherwise withdrawn."""
        reference = charge.reference
        self.calls.append(("withdraw", reference))
        if self.withdrawals:
            return self.withdrawals.popleft()
        truth = self._truth(reference)
        return Withdrawn() if isinstance(truth, NotFound) else truth

    async def reverse(self, charge: Charge) -> Answer:
        """Return the next scripted answer, or report the charge as reversed."""
        self.calls.append(("reverse", charge.reference))
        if self.reversals:
            return self.reversals.popleft()
        self.moved.pop(charge.reference, None)
        return Withdrawn()

    async def refund(self, refund: ChargeRefund) -> Outcome:
        """Return the next scripted outcome, or a success."""
        self.calls.append(("refund", refund.reference))
        outcome = self.refunds.popleft() if self.refunds else Succeeded(refund.amount, f"ref-{refund.reference}")
        if isinstance(outcome, Succeeded):
            self.moved[refund.reference] = outcome.amount
        self.heard.set()
        await self._free.wait()
        return outcome

    async def inquire_refund(self, refund: ChargeRefund) -> Answer:
        """Return the next scripted answer, or the true outcome of the refund."""
        reference = refund.reference
        self.calls.append(("inquire_refund", reference))
        return self.inquiries.popleft() if self.inquiries else self._truth(reference)

    async def statement(
        self, account: str, *, start: datetime, end: datetime
    ) -> AsyncIterator[list[StatementLine] | Unavailable]:
        """Yield the scripted pages of the statement."""
        self.calls.append(("statement", account))
        for page in self.statements:
            yield page

    async def close(self) -> None:
        """Do nothing, because there is no connection to close."""

    def _truth(self, reference: str) -> Answer:
        moved = self.moved.get(reference)
        return NotFound() if moved is None else Succeeded(moved, f"ref-{reference}")
