"""Bodies of requests and answers of operator actions."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.schemas.base import Body, Printable
from api.schemas.integer_types import LARGEST_INT32, Cursor


class MaintenanceIn(Body):
    """Whether the installation is closed for maintenance."""

    enabled: bool
    message: Annotated[Printable, Field(max_length=200)] | None = None


class MaintenanceOut(BaseModel):
    """The state of the maintenance switch."""

    enabled: bool
    message: str | None


class CloseIn(Body):
    """The reason for closing a dead letter."""

    reason: Annotated[Printable, Field(min_length=1, max_length=500, examples=["Sent by a test of the old release"])]


class DeadLetterOut(BaseModel):
    """A task, message, payment or refund that is no longer retried, with the reason.

    It is open until it is requeued or closed.
    """

    id: str
    task: Annotated[str, Field(examples=["payments.process"])]
    task_id: Annotated[str | None, Field(description="`null` for a quarantined payment or refund")]
    arguments: list[Any]
    entity_id: Annotated[str | None, Field(description="The quarantined payment or refund")]
    deliveries: Annotated[int, Field(ge=0, le=LARGEST_INT32, description="How often it was delivered")]
    reason: str
    traceback: str | None
    created_at: datetime
    requeued_at: datetime | None
    requeued_by: str | None
    message: Annotated[
        str | None,
        Field(description="The content of a message that is not a valid task, truncated, with card numbers masked"),
    ]
    closed_at: datetime | None
    closed_by: str | None
    close_reason: str | None


class DeadLettersOut(BaseModel):
    """A page of dead letters, newest first."""

    data: list[DeadLetterOut]
    next_cursor: Cursor


class RequeuedOut(BaseModel):
    """The message that was published again."""

    task: str
    arguments: list[Any]


class ViolationOut(BaseModel):
    """A row that breaks a rule."""

    id: Annotated[str, Field(description="The payment, refund or other entity")]
    problem: str


class InvariantRuleOut(BaseModel):
    """A rule and its last result."""

    rule: str
    invariant: Annotated[str, Field(examples=["I1"])]
    sentence: str
    tried_at: datetime
    is_finished: Annotated[bool, Field(description="Whether the last check finished in time")]
    finished_at: Annotated[datetime | None, Field(description="When the result below was found")]
    seconds: Annotated[float | None, Field(description="How long the last check took")]
    checked: Annotated[int | None, Field(ge=0, description="Rows that were checked")]
    violations: Annotated[int | None, Field(ge=0)]
    examples: Annotated[list[ViolationOut], Field(description="The first twenty violations")]


class InvariantsOut(BaseModel):
    """The last results of the invariants."""

    checked_at: Annotated[
        datetime | None,
        Field(description="When the oldest result was found; `null` until every rule has finished once"),
    ]
    clean: Annotated[bool | None, Field(description="Whether no rule is broken; `null` until that is known")]
    rules: list[InvariantRuleOut]
