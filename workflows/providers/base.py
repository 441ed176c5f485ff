"""What a provider is asked, and the answers it can give.

A provider has five answers. The line that matters runs between *Unavailable* (certainly nothing happened, so it may be
tried again) and *Unknown* (something may have happened, so it must be asked about and never simply repeated). Which of
the two it is, is the adapter's most important decision: everything after the request has left is *Unknown*.

An inquiry may also find nothing, and a withdrawal may be confirmed: two further facts that only those calls can state.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

NEVER = float("inf")
"""A time of the event loop that does not come."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a provider is asked to charge: ``amount`` minor units of ``currency``, tip included.

    ``reference`` is our idempotency key, ``{payment_id}:{attempt}``; ``account`` is on whose statement the money is to be
    listed: the store's id. ``facts`` are what the terminal reported or handed
    over (token, external result, approval code), named as the payment's columns are. ``expires_in_seconds`` is how long the
    customer still has, by the clock that the payment's own expiry goes by.
    """

    reference: str
    payment_id: str
    amount: int
    currency: str
    method_type: str
    method_mode: str | None
    expires_in_seconds: float
    account: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChargeRefund:
    """A refund as its provider is asked for it: ``amount`` minor units of the charge ``charge_reference``.

    ``reference`` is our idempotency key, ``{refund_id}:{attempt}``; ``account`` as for a charge. ``report`` is what the
    terminal reported of a refund that it carried out itself: ``result``, and numbers by which the refund can be found.
    """

    reference: str
    payment_id: str
    charge_reference: str
    amount: int
    currency: str
    account: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    report: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The money moved: ``amount`` minor units, which the caller compares with what it asked for."""

    amount: int
    provider_reference: str | None = None
    approval_code: str | None = None
    card_brand: str | None = None
    card_last_4: str | None = None
    fee: int = 0


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider refused; no money moved. ``is_retriable`` comes from the provider's own table of codes."""

    code: str
    message: str = "The provider declined the payment"
    is_retriable: bool = False


@dataclass(frozen=True, slots=True)
class ActionRequired:
    """The provider waits for somebody: ``next_action`` is what to show (empty: only time has to pass)."""

    next_action: dict[str, Any] | None
    provider_reference: str | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Certainly nothing happened: no connection was made, or the provider itself says so. The call may be repeated.

    The provider says so in its own error body, about the reference that was asked; a status line alone proves nothing.
    """

    reason: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something may have happened, so the outcome must be asked for.

    A read time-out, a reset, a 500, our own death, and every answer that does not name what was asked.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """An inquiry found nothing under our reference. No proof: the call may still be on its way."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The provider confirms that this reference moved no money and never will."""


class StatementLine(NamedTuple):
    """What a provider says it moved: ``amount`` and ``fee`` are signed minor units, ``at`` an instant in RFC 3339.

    ``kind`` is ``payment``, ``refund`` or ``reversal``; what left the merchant is below zero.
    """

    kind: str
    our_reference: str | None
    provider_reference: str | None
    amount: int
    currency: str
    fee: int | None
    at: str


Outcome = Succeeded | Declined | ActionRequired | Unavailable | Unknown
Answer = Outcome | NotFound | Withdrawn


class Provider(Protocol):
    """A way of moving money. No method raises for trouble of the provider's: trouble is an outcome."""

    name: str
    deduplicates: bool
    """Whether a second call with the same reference moves no second money."""
    max_processing_seconds: float
    """After this long, a call that was never answered can no longer be at work."""

    async def charge(self, charge: Charge, *, not_after: float = NEVER) -> Outcome:
        """Move the money, or create what the customer needs to move it.

        Nothing may be sent from the loop's time ``not_after`` on, when the payment has expired: looking up a name and opening
        a connection take seconds. ``Unavailable`` then, for nothing was sent.
        """
        ...

    async def inquire(self, charge: Charge) -> Answer:
        """Ask for the outcome of a charge that was sent; an answer about another one is ``Unknown``."""
        ...

    async def withdraw(self, charge: Charge) -> Answer:
        """Undo a charge that has not moved money yet: ``Withdrawn``, or ``Succeeded`` where it is too late."""
        ...

    async def reverse(self, charge: Charge) -> Answer:
        """Undo a charge that has moved money: ``Withdrawn``, or ``Succeeded`` where it stands. Repeating it is harmless."""
        ...

    async def refund(self, refund: ChargeRefund) -> Outcome:
        """Move money of a charge back."""
        ...

    async def inquire_refund(self, refund: ChargeRefund) -> Answer:
        """Ask for the outcome of a refund that was sent; an answer about another one is ``Unknown``."""
        ...

    def statement(
        self, account: str, *, start: datetime, end: datetime
    ) -> AsyncIterator[list[StatementLine] | Unavailable]:
        """What moved on ``account`` in ``[start, end)``, page by page; ``Unavailable`` ends it where it broke off."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
