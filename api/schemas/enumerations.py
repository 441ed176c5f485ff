"""Named enumerations of answers, each from the table of the code that sends it, so that none can drift.

Answers are not validated against these: they say in the OpenAPI document what the rows hold. ``TypeAliasType`` gives each a
name there, and one definition for all fields that have it. Bodies of requests keep plain literals: they are validated on
hot paths.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

from workflows.bills.states import BILL
from workflows.errors import every_error
from workflows.ledger import chart
from workflows.payments import codes
from workflows.payments.states import PAYMENT
from workflows.processing import codes as processing
from workflows.providers.codes import FailureCode as OurFailureCode
from workflows.providers.codes import NextActionType as OurNextActionType
from workflows.refunds.states import REFUND
from workflows.state_machine import StateMachine, meanings


def one_of(values: Iterable[str], description: str) -> FieldInfo:
    """Return the schema of a text that is one of ``values``."""
    found: FieldInfo = Field(description=description, json_schema_extra={"enum": [*dict.fromkeys(map(str, values))]})
    return found


def member_of(kind: type[StrEnum], description: str) -> FieldInfo:
    """Return the schema of a member of ``kind``, with what each means."""
    return one_of(kind, f"{description}\n\n{explained(kind)}")


def member_or_text(kind: type[StrEnum], description: str) -> FieldInfo:
    """Return the schema of a text for which ``kind`` has our own values, while others may come from outside.

    It is a plain string with our values beside it: as ``anyOf`` of an enumeration and a string, generated Kotlin and Java have
    an empty class, which no answer fits.
    """
    values: list[Any] = [str(value) for value in kind]
    found: FieldInfo = Field(
        description=f"{description}\n\n{explained(kind)}",
        examples=values,
        json_schema_extra={"x-extensible-enum": values},
    )
    return found


def explained(kind: type[StrEnum]) -> str:
    """Return a Markdown list of the members of ``kind`` and their meanings."""
    return "\n".join(f"- `{value}`: {meaning}" for value, meaning in meanings(kind).items())


def _statuses(*machines: StateMachine) -> list[str]:
    return [str(status) for machine in machines for status in machine.statuses]


def _events(*machines: StateMachine) -> list[str]:
    return [str(event) for machine in machines for event in (*machine.events, *machine.remarks)]


CREATED = "create"
"""The event of every first version."""

ErrorCode = TypeAliasType(
    "ErrorCode",
    Annotated[str, one_of((error.code for error in every_error()), "What went wrong, for programs: see Errors.")],
)
Advice = TypeAliasType("Advice", Annotated[str, member_of(codes.Advice, "What to do while the outcome is unknown.")])
FailureCode = TypeAliasType(
    "FailureCode",
    Annotated[
        str,
        member_or_text(OurFailureCode, "Why it failed or needs review: one of ours, or a code of the provider's own."),
    ],
)
CancelReason = TypeAliasType(
    "CancelReason",
    Annotated[
        str,
        member_or_text(processing.CancelReason, "Why it was cancelled: one of ours, or the reason that a caller gave."),
    ],
)
CancelOutcome = TypeAliasType(
    "CancelOutcome", Annotated[str, member_of(codes.CancelOutcome, "What became of the requested cancel.")]
)
NextActionType = TypeAliasType(
    "NextActionType", Annotated[str, member_of(OurNextActionType, "What the terminal has to do next.")]
)
AttemptOutcome = TypeAliasType(
    "AttemptOutcome", Annotated[str, member_of(codes.AttemptOutcome, "What the provider's answer to an attempt meant.")]
)
MessageKind = TypeAliasType(
    "MessageKind", Annotated[str, member_of(codes.MessageKind, "Why the provider was asked, or why it answered.")]
)
AccountKind = TypeAliasType("AccountKind", Annotated[str, member_of(chart.AccountKind, "A kind of ledger account.")])
JournalKind = TypeAliasType("JournalKind", Annotated[str, one_of(chart.JournalKind, "What a journal records.")])
CallerType = TypeAliasType(
    "CallerType",
    Annotated[str, one_of(("device", "user", "worker"), "Who did it: a terminal, a person, or a worker by itself.")],
)
TimelineEventName = TypeAliasType(
    "TimelineEventName",
    Annotated[
        str, one_of((CREATED, *_events(PAYMENT, REFUND, BILL)), "What happened to the payment, its refund or its bill.")
    ],
)
TimelineStatus = TypeAliasType(
    "TimelineStatus", Annotated[str, one_of(_statuses(PAYMENT, REFUND, BILL), "A status of a payment, refund or bill.")]
)
