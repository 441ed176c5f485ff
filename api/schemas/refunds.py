"""Refunds: what is asked for, and what is shown."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.schemas.base import Body, Metadata, Printable
from workflows.money import MAX_MOVED
from workflows.refunds.request import RefundRequest
from workflows.refunds.states import RefundStatus


class RefundIn(Body):
    """Money to be given back."""

    amount: Annotated[
        int | None, Field(gt=0, le=MAX_MOVED, description="Minor units, tip included; default: all that is left")
    ] = None
    reason: Annotated[Printable, Field(max_length=200)]
    staff_code: Annotated[Printable, Field(max_length=64)]
    metadata: Metadata = Field(default_factory=dict)

    def to_request(self) -> RefundRequest:
        """The same in the domain's words."""
        return RefundRequest(self.amount, self.reason, self.staff_code, self.metadata)


class RefundOut(BaseModel):
    """A refund."""

    id: str
    payment_id: str
    status: RefundStatus
    version: int
    amount: int
    currency: str
    reason: str
    staff_code: str
    provider: str
    provider_reference: str | None
    failure_code: str | None
    failure_message: str | None
    outcome_known: bool
    needs_review: bool
    settlement_id: str | None
    store_id: str
    merchant_id: str
    metadata: dict[str, Any]
    created_at: datetime
    processing_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None


class RefundsOut(BaseModel):
    """A page of refunds, newest first."""

    data: list[RefundOut]
    next_cursor: str | None
