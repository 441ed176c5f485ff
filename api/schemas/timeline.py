"""Entries of a payment's timeline. The ``type`` of an entry decides which fields it has."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field

from api.schemas.base import unset
from api.schemas.enumerations import AttemptOutcome, CallerType, MessageKind, TimelineEventName, TimelineStatus
from api.schemas.integer_types import AttemptNumber, Currency, Minor, Version
from api.schemas.statements import StatementLineKind

OfRefund = Annotated[str, Field(description="The refund it is about; omitted if it is about the payment itself")]


class _Entry(BaseModel):
    at: datetime


class _OfPaymentOrRefund(_Entry):
    refund_id: OfRefund = Field(default_factory=unset)


class _History(_OfPaymentOrRefund):
    version: Version
    event: TimelineEventName
    from_status: Annotated[TimelineStatus | None, Field(description="`null` for the first version")]
    to_status: TimelineStatus
    caller_type: CallerType
    caller_id: str
    reason: str | None
    request_id: str | None
    bill_id: Annotated[str, Field(description="The bill it is about; omitted if it is not about a bill")] = Field(
        default_factory=unset
    )


class TransitionEntry(_History):
    """The payment, its refund or its bill changed its status."""

    type: Literal["transition"]


class RemarkEntry(_History):
    """Something changed or became known without a change of status."""

    type: Literal["remark"]


class _Attempt(_OfPaymentOrRefund):
    number: AttemptNumber
    provider: str
    reference: Annotated[str, Field(description="Our reference, by which the provider knows the attempt")]


class AttemptSentEntry(_Attempt):
    """The provider was called to move money."""

    type: Literal["attempt_sent"]
    resends: Annotated[int, Field(ge=0, le=2**31 - 1, description="How often the same reference was sent again")]


class AttemptAnsweredEntry(_Attempt):
    """The provider's answer to an attempt."""

    type: Literal["attempt_answered"]
    outcome: AttemptOutcome
    provider_reference: str | None
    code: str | None
    message: str | None


class ProviderMessageEntry(_OfPaymentOrRefund):
    """An inquiry about an attempt with its answer, or an answer that arrived late."""

    type: Literal["provider_message"]
    attempt: AttemptNumber | None
    kind: MessageKind
    answer: str
    detail: dict[str, Any]


class EvidenceLine(BaseModel):
    """A line of a provider's statement about an attempt."""

    line_number: Annotated[int, Field(ge=1, le=2**31 - 1)]
    kind: StatementLineKind
    amount: Minor
    fee: Minor | None
    currency: Currency
    provider_reference: str | None
    occurred_at: datetime | None
    occurred_on: date | None


class StatementEntry(_OfPaymentOrRefund):
    """Lines of the provider's statement decided an attempt whose outcome was unknown."""

    type: Literal["statement"]
    attempt: AttemptNumber
    answer: Annotated[
        Literal["succeeded", "withdrawn"], Field(description="The money moved; or it was charged and reversed")
    ]
    settlement_id: str
    statement_id: str
    lines: list[EvidenceLine]
    by: Annotated[
        str, Field(description="The worker that used the lines, or the API process that a person used to confirm them")
    ]
    withdrawn_at: Annotated[
        datetime | None,
        Field(description="When a later statement lacked the lines, after which a person has to decide"),
    ]


class _Line(_Entry):
    settlement_id: str
    amount: Minor
    fee: Minor
    currency: Currency
    business_date: date
    is_late: bool


class SettledEntry(_Line):
    """The payment or its refund became a line of a settlement."""

    type: Literal["settled"]
    refund_id: OfRefund = Field(default_factory=unset)


class AdjustedEntry(_Line):
    """A correction was booked into a settlement."""

    type: Literal["adjusted"]
    adjustment_id: str


TimelineEntry = Annotated[
    TransitionEntry
    | RemarkEntry
    | AttemptSentEntry
    | AttemptAnsweredEntry
    | ProviderMessageEntry
    | StatementEntry
    | SettledEntry
    | AdjustedEntry,
    Discriminator("type"),
]


class EventsOut(BaseModel):
    """The timeline of a payment with its refunds and its bill, oldest first."""

    data: list[TimelineEntry]
