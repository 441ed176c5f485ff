"""Bodies of requests and answers about refunds."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from api.schemas.base import (
    Attempts,
    Body,
    DueAt,
    InDoubtSince,
    Inquiries,
    Metadata,
    Part,
    Printable,
    unset,
)
from api.schemas.enumerations import FailureCode
from api.schemas.integer_types import Currency, Cursor, Minor, Version
from workflows.money import MAX_MOVED
from workflows.providers.local import APPROVED
from workflows.refunds.report_manual_refund import Report
from workflows.refunds.request import RefundRequest
from workflows.refunds.states import RefundStatus

Number = Annotated[Printable, Field(max_length=64)]


class ReportPart(Part):
    """A terminal's report about money returned at the till, in cash or by the terminal's own card application."""

    result: Annotated[
        Literal["approved", "declined"] | None,
        Field(description="Whether the money was returned. May be omitted with an approval code"),
    ] = None
    approval_code: Number | None = None
    slip_number: Number | None = None
    card_arn: Number | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.result is None and self.approval_code is None:
            raise ValueError("Report what happened: a result of approved or declined, or an approval_code")
        return self

    def comparison_fields(self) -> dict[str, Any]:
        """Return the fields by which repeated requests are compared.

        A missing ``result`` is filled in as approved, because an approval code alone means that.
        """
        return {**self.__dict__, "result": self.result or APPROVED}

    def to_report(self) -> Report:
        """Convert to the use-case's ``Report``."""
        return {"result": APPROVED, **self.model_dump(exclude_none=True)}


class ReportIn(Body, ReportPart):
    """A report of how a refund with `needs_action` ended at the till: approved or declined."""


class RefundIn(Body):
    """A refund to make."""

    amount: Annotated[
        int | None, Field(gt=0, le=MAX_MOVED, description="Minor units, tip included; default: everything that is left")
    ] = None
    reason: Annotated[Printable, Field(max_length=200)]
    staff_code: Annotated[Printable, Field(max_length=64)]
    metadata: Metadata = Field(default_factory=dict)
    report: Annotated[
        ReportPart | None,
        Field(
            description="For a sale in cash or by the terminal's own card application: the terminal's report of the "
            "refund that it has carried out. A card refund without it has `needs_action: true` until it is reported"
        ),
    ] = None

    def to_request(self) -> RefundRequest:
        """Convert to the use-case's ``RefundRequest``."""
        report = self.report.to_report() if self.report else None
        return RefundRequest(self.amount, self.reason, self.staff_code, self.metadata, report)


class ReportOut(BaseModel):
    """The terminal's report of a refund that it carried out itself. Fields not reported are omitted."""

    result: Literal["approved", "declined"]
    approval_code: str = Field(default_factory=unset)
    slip_number: str = Field(default_factory=unset)
    card_arn: str = Field(default_factory=unset)


class RefundOut(BaseModel):
    """A refund."""

    id: str
    payment_id: str
    status: RefundStatus
    version: Version
    amount: Annotated[Minor, Field(description="Minor units of the currency, tip included")]
    currency: Currency
    reason: str
    staff_code: str
    provider: str
    provider_reference: str | None
    failure_code: FailureCode | None
    failure_message: str | None
    outcome_known: Annotated[
        bool, Field(description="`false`: the money may have been returned; the amount stays reserved")
    ]
    needs_review: Annotated[bool, Field(description="A person must look at it; name this refund to support")]
    needs_action: Annotated[bool, Field(description="A person must return the money, and the terminal report it")]
    report: ReportOut | None
    settlement_id: str | None
    store_id: str
    merchant_id: str
    metadata: dict[str, Any]
    created_at: datetime
    reported_at: datetime | None
    processing_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    due_at: DueAt = None
    in_doubt_since: InDoubtSince = None
    attempts: Attempts = None
    inquiries: Inquiries = None


class RefundsOut(BaseModel):
    """A page of refunds, newest first."""

    data: list[RefundOut]
    next_cursor: Cursor
