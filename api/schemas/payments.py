"""Bodies of requests and answers about payments."""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Discriminator, Field, model_validator
from typing_extensions import TypeAliasType

from api.schemas.base import (
    Amount,
    Attempts,
    Body,
    DueAt,
    Id,
    InDoubtSince,
    Inquiries,
    Metadata,
    Part,
    Printable,
    Tip,
)
from api.schemas.base import Currency as CurrencyIn
from api.schemas.enumerations import Advice, CancelOutcome, CancelReason, FailureCode, NextActionType, one_of
from api.schemas.integer_types import Currency, Cursor, Minor, Version
from api.schemas.patterns import LAST_4_PATTERN
from workflows.errors import Detail, InvalidRequest
from workflows.money import MAX_AMOUNT
from workflows.payments.check_request import PaymentRequest
from workflows.payments.states import PaymentStatus
from workflows.providers import local

DEFAULT_EXPIRY_SECONDS, MAX_EXPIRY_SECONDS = 300, 900
MAX_CASH = 10 * MAX_AMOUNT  # the largest amount and tip, with room for change; exact even as a float

Code = Annotated[Printable, Field(max_length=64)]
Reference = Annotated[Printable, Field(max_length=100)]
Token = Annotated[Printable, Field(max_length=200)]


class CashMethod(Part):
    """Cash. The server computes the change."""

    type: Literal["cash"]
    cash_received: Annotated[
        int | None, Field(ge=0, le=MAX_CASH, description="What the customer handed over; default: the exact sum")
    ] = None


class TerminalResult(Part):
    """The report of the terminal's own card application."""

    result: Annotated[
        Literal["approved", "declined"] | None, Field(description="May be left out with an approval code")
    ] = None
    approval_code: Code | None = None
    card_brand: Code | None = None
    card_last_4: Annotated[str | None, Field(pattern=LAST_4_PATTERN)] = None
    entry_method: Code | None = None
    slip_number: Code | None = None
    card_arn: Code | None = None

    def comparison_fields(self) -> dict[str, Any]:
        """Return the fields with ``result`` filled in, because an approval code alone means approved."""
        return {**self.__dict__, "result": self.result or (local.APPROVED if self.approval_code else None)}


class CardMethod(TerminalResult):
    """A card: charged by the terminal's own card application, or by a provider that holds a token of it."""

    type: Literal["card"]
    provider: Code | None = None
    token: Token | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "CardMethod":
        if self.provider is None:
            if self.token is not None:
                raise ValueError("Name the provider that holds this token")
            _check_reported(self)
        elif self.result is not None or self.approval_code is not None:
            # The terminal's own application has charged the card already; the provider would charge it again.
            raise ValueError("Send what the terminal reported, or the provider that is to charge, not both")
        return self


class EmoneyMethod(TerminalResult):
    """Electronic money, charged by the terminal's own application."""

    type: Literal["emoney"]

    @model_validator(mode="after")
    def _reported(self) -> "EmoneyMethod":
        _check_reported(self)
        return self


class QrMethod(Part):
    """A QR code. With ``mpm`` the merchant shows it and the customer scans it; with ``cpm`` it is the other way round."""

    type: Literal["qr"]
    mode: Literal["mpm", "cpm"]
    provider: Code | None = None
    token: Token | None = None


def _check_reported(method: TerminalResult) -> None:
    if method.result is None and method.approval_code is None:
        raise ValueError("Send what the terminal reported: a result of approved or declined, or an approval_code")


MethodIn = CashMethod | CardMethod | EmoneyMethod | QrMethod
Method = Annotated[MethodIn, Discriminator("type")]
METHOD_TYPES = frozenset(str(get_args(model.model_fields["type"].annotation)[0]) for model in get_args(MethodIn))


class PaymentIn(Body):
    """A payment to make."""

    amount: Amount
    currency: Annotated[CurrencyIn | None, Field(description="The default is the store's own currency")] = None
    tip_amount: Tip = 0
    method: Method
    bill_id: Id | None = None
    store_id: Annotated[Id | None, Field(description="Only for callers above store level")] = None
    client_reference: Annotated[
        Reference | None, Field(description="Your own reference; it stays unique within the merchant permanently")
    ] = None
    expires_in: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_EXPIRY_SECONDS,
            description="Seconds the customer waits for a provider. Accepted and ignored for cash and for results that the "
            "terminal reports: these never expire, and their `expires_at` is null",
        ),
    ] = DEFAULT_EXPIRY_SECONDS
    on_too_late: Annotated[
        Literal["refund"] | None, Field(description="What to do if a cancel arrives after the money has moved")
    ] = None
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _enough_cash(self) -> "PaymentIn":
        if isinstance(self.method, CashMethod) and self.method.cash_received is not None:
            due = self.amount + self.tip_amount
            if self.method.cash_received < due:
                # Not a pydantic error, because that of a model validator would name no field.
                raise InvalidRequest(Detail("method.cash_received", f"Must be at least {due}, the amount and the tip"))
        return self

    def comparison_fields(self) -> dict[str, Any]:
        """Return the fields to compare two requests by. A missing ``cash_received`` becomes the exact sum."""
        if isinstance(self.method, CashMethod) and self.method.cash_received is None:
            exact = CashMethod(type="cash", cash_received=self.amount + self.tip_amount)
            return {**self.__dict__, "method": exact}
        return dict(self.__dict__)

    def to_request(self) -> PaymentRequest:
        """Convert to the use-case's ``PaymentRequest``."""
        mode, provider, facts = _FACTS[type(self.method)](self, self.method)
        return PaymentRequest(
            amount=self.amount,
            currency=self.currency,
            tip_amount=self.tip_amount,
            method_type=self.method.type,
            method_mode=getattr(self.method, "mode", None),
            processing_mode=mode,
            provider=provider,
            facts=facts,
            expires_in_seconds=self.expires_in,
            store_id=self.store_id,
            bill_id=self.bill_id,
            client_reference=self.client_reference,
            on_too_late=self.on_too_late,
            metadata=self.metadata,
        )


Facts = tuple[str, str | None, dict[str, Any]]


def _cash(payment: PaymentIn, method: CashMethod) -> Facts:
    due = payment.amount + payment.tip_amount
    received = due if method.cash_received is None else method.cash_received
    return "manual", local.CASH, {"cash_received": received, "change_amount": received - due}


def _terminal(_payment: PaymentIn, method: TerminalResult) -> Facts:
    facts = method.model_dump(exclude={"type", "result", "provider", "token"}, exclude_none=True)
    facts["external_result"] = method.result or local.APPROVED
    return "external", local.EXTERNAL, facts


def _card(payment: PaymentIn, method: CardMethod) -> Facts:
    if method.provider is None:
        return _terminal(payment, method)
    facts = method.model_dump(exclude={"type", "result", "provider", "token"}, exclude_none=True)
    return "provider", method.provider, {**facts, "provider_token": method.token}


def _qr(_payment: PaymentIn, method: QrMethod) -> Facts:
    return "provider", method.provider, {"provider_token": method.token}


_FACTS: dict[type, Any] = {CashMethod: _cash, CardMethod: _card, EmoneyMethod: _terminal, QrMethod: _qr}


class CancelIn(Body):
    """The reason for the cancel, and what to do if it arrives too late."""

    reason: Annotated[Printable, Field(max_length=200)] | None = None
    on_too_late: Literal["refund"] | None = None


MethodType = TypeAliasType("MethodType", Annotated[str, one_of(sorted(METHOD_TYPES), "How the customer pays.")])
MethodMode = TypeAliasType("MethodMode", Literal["mpm", "cpm"])
ProcessingMode = TypeAliasType("ProcessingMode", Literal["manual", "external", "provider"])


class MethodOut(BaseModel):
    """How the customer pays."""

    type: MethodType
    mode: Annotated[
        MethodMode | None, Field(description="Who shows the QR code: `mpm` the merchant, `cpm` the customer")
    ]


class NextAction(BaseModel):
    """An action of the terminal, such as showing a QR code."""

    type: NextActionType
    qr_content: str
    expires_at: datetime


class PaymentOut(BaseModel):
    """A payment."""

    id: str
    status: PaymentStatus
    version: Version
    amount: Minor
    tip_amount: Minor
    currency: Currency
    captured_amount: Annotated[Minor, Field(description="The amount charged, tip included; 0 until it is completed")]
    refunded_amount: Annotated[Minor, Field(description="The amount refunded so far")]
    method: MethodOut
    processing_mode: Annotated[
        ProcessingMode,
        Field(
            description="`manual`: cash; `external`: the terminal's own application; `provider`: charged by a provider"
        ),
    ]
    provider: str
    provider_reference: str | None
    approval_code: str | None
    card_brand: str | None
    card_last_4: Annotated[str | None, Field(pattern=LAST_4_PATTERN)]
    cash_received: Minor | None
    change_amount: Minor | None
    bill_id: str | None
    order_id: str | None
    device_id: str | None
    store_id: str
    merchant_id: str
    client_reference: str | None
    next_action: NextAction | None
    failure_code: FailureCode | None
    failure_message: str | None
    cancel_requested_at: datetime | None
    cancel_reason: CancelReason | None
    cancel_outcome: CancelOutcome | None
    outcome_known: Annotated[bool, Field(description="`false`: money may have moved. Do not charge again")]
    advice: Advice | None
    needs_review: Annotated[bool, Field(description="A person must look at it; name this payment to support")]
    needs_action: Annotated[bool, Field(description="A refund of it waits for a person to return the money")]
    settlement_id: str | None
    metadata: dict[str, Any]
    expires_at: Annotated[
        datetime | None, Field(description="Nothing is sent to a provider after this; `null` if it never expires")
    ]
    created_at: datetime
    processing_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    cancelled_at: datetime | None
    refunded_at: datetime | None
    due_at: DueAt = None
    in_doubt_since: InDoubtSince = None
    attempts: Attempts = None
    inquiries: Inquiries = None


class PaymentsOut(BaseModel):
    """A page of payments, newest first."""

    data: list[PaymentOut]
    next_cursor: Cursor
