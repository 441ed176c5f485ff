"""What operators send and see."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.schemas.base import Body, Printable
from api.schemas.outputs import LARGEST_INT32, Cursor


class MaintenanceIn(Body):
    """Close the installation, or open it again."""

    enabled: bool
    message: Annotated[Printable, Field(max_length=200)] | None = None


class MaintenanceOut(BaseModel):
    """The switch as it is now."""

    enabled: bool
    message: str | None


class DeadLetterOut(BaseModel):
    """A task, payment or refund that was given up on, with the reason."""

    id: str
    task: Annotated[str, Field(examples=["payments.process"])]
    task_id: Annotated[str | None, Field(description="`null` for a quarantined payment or refund")]
    arguments: list[Any]
    entity_id: Annotated[str | None, Field(description="The quarantined payment or refund")]
    deliveries: Annotated[int, Field(ge=0, le=LARGEST_INT32, description="How often it was tried")]
    reason: str
    traceback: str | None
    created_at: datetime
    requeued_at: datetime | None
    requeued_by: str | None


class DeadLettersOut(BaseModel):
    """A page of dead letters, newest first."""

    data: list[DeadLetterOut]
    next_cursor: Cursor


class RequeuedOut(BaseModel):
    """The message that was published again."""

    task: str
    arguments: list[Any]
