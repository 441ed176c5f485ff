"""Define the protocol of providers: the calls to a provider, and the answers that it can give.

A call has five possible outcomes. The most important decision of an adapter is the one between *Unavailable* (certainly
nothing happened, so the call may be repeated) and *Unknown* (something may have happened, so the provider must be asked before
anything is repeated). Once a request was sent, an outcome that cannot be read is *Unknown*.

Inquiries, withdrawals and reversals have two further answers: nothing was found, or the charge is confirmed as withdrawn. The
``name`` of an answer is stored with attempts and messages, and it is the label of the answer in metrics.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, Protocol

NEVER = float("inf")
"""A deadline that never comes, as a time of the event loop."""


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge to request: ``amount`` minor units of ``currency``, tip included.

    ``reference`` is our idempotency key, ``{payment_id}:{attempt}``. ``account`` is the store's id; the provider lists the
    money on the statement of this account. ``terminal_data`` are values that the terminal reported or passed on (token,
    external result, approval code), named like the payment's columns. ``expires_in_seconds`` is the time left until the
    payment's expiry, by the database's clock.
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
    terminal_data: dict[str, Any] = field(default_factory=dict)


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
    """The money moved. ``amount`` is in minor units; it is compared with the requested amount (``processing.decide``)."""

    name: ClassVar[str] = "succeeded"

    amount: int
    provider_reference: str | None = None
    approval_code: str | None = None
    card_brand: str | None = None
    card_last_4: str | None = None
    fee: int = 0


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider refused; no money moved. ``is_retriable`` comes from the provider's own table of codes."""

    name: ClassVar[str] = "declined"

    code: str
    message: str = "The provider declined the payment"
    is_retriable: bool = False


@dataclass(frozen=True, slots=True)
class ActionRequired:
    """The provider accepted the request but has not moved the money yet.

    It waits for the customer, who is shown ``next_action``, or (without ``next_action``) it needs time itself.
    """

    name: ClassVar[str] = "action_required"

    next_action: dict[str, Any] | None
    provider_reference: str | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Certainly nothing happened, so the call may be repeated.

    No connection was made, or the provider says in its own error body, about the requested reference, that it did nothing.
    An HTTP status alone proves nothing.
    """

    name: ClassVar[str] = "unavailable"

    reason: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something may have happened, so the provider must be asked for the outcome.

    Causes are a read timeout, a reset, a 500, a crash of our process, and every answer that does not name the request.
    """

    name: ClassVar[str] = "unknown"

    reason: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """An inquiry found nothing under our reference. That proves nothing, because the call may still be on its way."""

    name: ClassVar[str] = "not_found"


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The provider confirms that this reference moved no money and never will."""

    name: ClassVar[str] = "withdrawn"


class FailureCode(StrEnum):
    """The ``failure_code`` of a payment or refund for which the provider gave no code."""

    DECLINED = "declined"  # declined without a code, or declined by the terminal's own card application
    REFUSED_BY_PROVIDER = "refused_by_provider"  # the provider refuses such a request permanently
    PROVIDER_UNAVAILABLE = "provider_unavailable"  # the provider was not reached on any attempt; no money moved
    AMOUNT_MISMATCH = "amount_mismatch"  # the provider moved another amount; a person has to review it
    FEE_OUT_OF_RANGE = "fee_out_of_range"  # the provider reported an impossible fee; a person has to review it


class NextActionType(StrEnum):
    """The kinds of ``next_action``: what the terminal must do next."""

    DISPLAY_QR = "display_qr"  # show the code of qr_content until expires_at


class StatementLine(NamedTuple):
    """A movement of money as the provider reports it.

    ``amount`` and ``fee`` are signed minor units; an amount below zero left the merchant. ``at`` is a timestamp in
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
    """A way to move money. Its methods return an error of the provider as an outcome, and do not raise it."""

    name: str
    deduplicates: bool
    """Whether the provider moves money only once for calls with the same reference."""
    max_processing_seconds: float
    """How long the provider may still work on a call that it has not answered."""

    async def charge(self, charge: Charge, *, not_after: float = NEVER) -> Outcome:
        """Move the money, or create the code with which the customer moves it.

        ``not_after`` is the loop's time at which the payment expires. Resolving the name and connecting can take seconds. If
        they end after ``not_after``, nothing is sent and the outcome is ``Unavailable``.
        """
        ...

    async def inquire(self, charge: Charge) -> Answer:
        """Ask for the outcome of a charge that was sent.

        An answer that names a different charge is ``Unknown``.
        """
        ...

    async def withdraw(self, charge: Charge) -> Answer:
        """Undo a charge that has not moved money yet.

        Return ``Withdrawn``, or ``Succeeded`` if it is too late.
        """
        ...

    async def reverse(self, charge: Charge) -> Answer:
        """Undo a charge that has moved money. Return ``Withdrawn``, or ``Succeeded`` if the charge stands.

        Repeating the call is harmless.
        """
        ...

    async def refund(self, refund: ChargeRefund) -> Outcome:
        """Refund some or all of a charge."""
        ...

    async def inquire_refund(self, refund: ChargeRefund) -> Answer:
        """Ask for the outcome of a refund that was sent.

        An answer that names a different refund is ``Unknown``.
        """
        ...

    def statement(
        self, account: str, *, start: datetime, end: datetime
    ) -> AsyncIterator[list[StatementLine] | Unavailable]:
        """Yield the movements of money on ``account`` in ``[start, end)``, page by page.

        If the statement cannot be read to its end, the last item is ``Unavailable``.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
