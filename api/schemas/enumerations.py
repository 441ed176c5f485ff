"""Enumerations of response fields, each derived from the code that sends its values, so that they cannot differ from it.

Responses are not validated. The enumerations describe them in the OpenAPI document, where ``TypeAliasType`` gives each one a
name and a single definition. Request bodies use plain literals, which are faster to validate.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

from workflows.bills.states import BILL
from workflows.errors import every_error
from workflows.ledger import post_journals as ledger
from workflows.payments import states
from workflows.payments.states import PAYMENT
from workflows.processing.decision import CancelReason as OurCancelReason
from workflows.providers.base import FailureCode as OurFailureCode
from workflows.providers.base import NextActionType as OurNextActionType
from workflows.refunds.states import REFUND
from workflows.state_machine import StateMachine, member_comments


def one_of(values: Iterable[str], description: str) -> FieldInfo:
    """Return the schema of a text that is one of ``values``."""
    found: FieldInfo = Field(description=description, json_schema_extra={"enum": [*dict.fromkeys(map(str, values))]})
    return found


def member_of(kind: type[StrEnum], description: str) -> FieldInfo:
    """Return the schema of a text that is a member of ``kind``, with the meaning of each member."""
    return one_of(kind, f"{description}\n\n{explain_members(kind)}")


def member_or_text(kind: type[StrEnum], description: str) -> FieldInfo:
    """Return the schema of a text that may be a member of ``kind`` or a value from outside.

    It is a plain string with the members as ``x-extensible-enum``. For ``anyOf`` of an enumeration and a string, generators of
    Kotlin and Java generate an empty class, which cannot be parsed from any answer.
    """
    values: list[Any] = [str(value) for value in kind]
    found: FieldInfo = Field(
        description=f"{description}\n\n{explain_members(kind)}",
        examples=values,
        json_schema_extra={"x-extensible-enum": values},
    )
    return found


def explain_members(kind: type[StrEnum]) -> str:
    """Return a Markdown list of the members of ``kind`` and their meanings."""
    return "\n".join(f"- `{value}`: {meaning}" for value, meaning in member_comments(kind).items())


def _statuses(*machines: StateMachine) -> list[str]:
    return [str(status) for machine in machines for status in machine.statuses]


def _events(*machines: StateMachine) -> list[str]:
    return [str(event) for machine in machines for event in (*machine.events, *machine.remarks)]


CREATED = "create"
"""The event of every first version."""

ErrorCode = TypeAliasType(
    "ErrorCode",
    Annotated[str, one_of((error.code for error in every_error()), "The kind of error, for programs: see Errors.")],
)
Advice = TypeAliasType("Advice", Annotated[str, member_of(states.Advice, "What to do while the outcome is unknown.")])
FailureCode = TypeAliasType(
    "FailureCode",
    Annotated[
        str,
        member_or_text(OurFailureCode, "Why it failed or needs review: one of these, or the provider's own code."),
    ],
)
CancelReason = TypeAliasType(
    "CancelReason",
    Annotated[
        str,
        member_or_text(OurCancelReason, "Why it was cancelled: one of these, or the reason that a caller gave."),
    ],
)
CancelOutcome = TypeAliasType(
    "CancelOutcome", Annotated[str, member_of(states.CancelOutcome, "The outcome of the requested cancel.")]
)
NextActionType = TypeAliasType(
    "NextActionType", Annotated[str, member_of(OurNextActionType, "What the terminal must do next.")]
)
AttemptOutcome = TypeAliasType(
    "AttemptOutcome",
    Annotated[str, member_of(states.AttemptOutcome, "The meaning of the provider's answer to an attempt.")],
)
MessageKind = TypeAliasType(
    "MessageKind", Annotated[str, member_of(states.MessageKind, "The kind of message exchanged with the provider.")]
)
AccountKind = TypeAliasType("AccountKind", Annotated[str, member_of(ledger.AccountKind, "A kind of ledger account.")])
JournalKind = TypeAliasType("JournalKind", Annotated[str, one_of(ledger.JournalKind, "What a journal records.")])
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
