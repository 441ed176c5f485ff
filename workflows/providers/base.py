"""The protocol of providers: the calls to a provider, and the answers that it can give.

A call has five possible outcomes. The distinction that matters is between *Unavailable* (certainly nothing happened, so the
call may be repeated) and *Unknown* (something may have happened, so the provider must be asked before anything is repeated).
To choose between the two is the most important decision of an adapter: after the request was sent it is *Unknown*.

Two further answers exist for inquiries and withdrawals: nothing was found, and the charge is confirmed as withdrawn.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

NEVER = float("inf")
"""A time of the event loop that is never reached: no deadline."""


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge to request: ``amount`` minor units of ``currency``, tip included.

    ``reference`` is our idempotency key, ``{payment_id}:{attempt}``. ``account`` is the store's id: the money is listed on
    its statement. ``facts`` are values that the terminal reported or passed on (token, external result, approval code),
    named like the payment's columns. ``expires_in_seconds`` is the time left until the payment's expiry, by the database's
    clock.
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
    """A refund to request: ``amount`` minor units of the charge ``charge_reference``.

    ``reference`` is our idempotency key, ``{refund_id}:{attempt}``; ``account`` as for a charge. ``report`` holds what the
    terminal reported about a refund that it carried out itself: ``result``, and the numbers that identify the refund.
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
    """The money moved: ``amount`` minor units, which the caller compares with the amount it requested."""

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
    """The provider waits for the customer or for time: ``next_action`` is what to show, if anything."""

    next_action: dict[str, Any] | None
    provider_reference: str | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Certainly nothing happened, so the call may be repeated.

    No connection was made, or the provider says in its own error body, about the requested reference, that it did nothing.
    An HTTP status alone proves nothing.
    """

    reason: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something may have happened, so the provider must be asked for the outcome.

    Causes are a read timeout, a reset, a 500, a crash of our process, and every answer that does not name the request.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """An inquiry found nothing under our reference. It proves nothing: the call may still be on its way."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The provider confirms that this reference moved no money and never will."""


class FailureCode(StrEnum):
    """The ``failure_code`` of a payment or refund, unless the provider gave one of its own."""

    DECLINED = "declined"  # declined without a code, or declined by the terminal's own card application
    REFUSED_BY_PROVIDER = "refused_by_provider"  # the provider refuses such a request permanently
    PROVIDER_UNAVAILABLE = "provider_unavailable"  # the provider was not reached on any attempt; no money moved
    AMOUNT_MISMATCH = "amount_mismatch"  # the provider moved another amount; a person has to review it
    FEE_OUT_OF_RANGE = "fee_out_of_range"  # the provider reported an impossible fee; a person has to review it


class NextActionType(StrEnum):
    """The next action of the terminal."""

    DISPLAY_QR = "display_qr"  # show the code of qr_content until expires_at


class StatementLine(NamedTuple):
    """A movement of money as the provider reports it.

    ``amount`` and ``fee`` are signed minor units: money that left the merchant is below zero. ``at`` is a timestamp in
    RFC 3339, ``kind`` is ``payment``, ``refund`` or ``reversal``.
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
    """A way to move money. No method raises for an error of the provider: such an error is an outcome."""

    name: str
    deduplicates: bool
    """Whether a second call with the same reference moves no money a second time."""
    max_processing_seconds: float
    """The time after which the provider no longer works on a call that it never answered."""

    async def charge(self, charge: Charge, *, not_after: float = NEVER) -> Outcome:
        """Move the money, or create the code with which the customer moves it.

        ``not_after`` is the loop's time at which the payment expires. A name look-up and a connection take seconds; if they
        end later than this, nothing is sent and the outcome is ``Unavailable``.
        """
        ...

    async def inquire(self, charge: Charge) -> Answer:
        """Ask for the outcome of a charge that was sent; an answer about another one is ``Unknown``."""
        ...

    async def withdraw(self, charge: Charge) -> Answer:
        """Undo a charge that has not moved money yet: ``Withdrawn``, or ``Succeeded`` if it is too late."""
        ...

    async def reverse(self, charge: Charge) -> Answer:
        """Undo a charge that has moved money: ``Withdrawn``, or ``Succeeded`` if the charge stands.

        Repeating the call is harmless.
        """
        ...

    async def refund(self, refund: ChargeRefund) -> Outcome:
        """Refund some or all of a charge."""
        ...

    async def inquire_refund(self, refund: ChargeRefund) -> Answer:
        """Ask for the outcome of a refund that was sent; an answer about another one is ``Unknown``."""
        ...

    def statement(
        self, account: str, *, start: datetime, end: datetime
    ) -> AsyncIterator[list[StatementLine] | Unavailable]:
        """Yield pages of what moved on ``account`` in ``[start, end)``.

        If the statement cannot be read to its end, the last item is ``Unavailable``.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
