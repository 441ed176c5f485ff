"""Bodies of requests and answers about settlements."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from api.schemas.base import Body, Printable
from api.schemas.integer_types import Count, Currency, Cursor, Minor, Version
from api.schemas.patterns import DAY_PATTERN, LOCAL_TIME_PATTERN
from api.schemas.payments import MethodType
from api.schemas.provider_names import StatementProvider
from api.schemas.stores import CutOffOut
from workflows.money import MAX_AMOUNT
from workflows.reconciliation.statement_policy import PolicyRequest, Statements
from workflows.settlements.override import OverrideRequest
from workflows.settlements.states import SettlementStatus

LocalTime = Annotated[
    str,
    Field(
        pattern=LOCAL_TIME_PATTERN,
        description="Local time of the store, without an offset",
        examples=["2026-11-24T03:00"],
    ),
]
Day = Annotated[
    str,
    Field(pattern=DAY_PATTERN, description="A date", examples=["2026-11-23"]),
]

MAX_IN_DRAWER = 1_000 * MAX_AMOUNT  # more than the sales of any day, and exact even as a float


class CashCountIn(Body):
    """The cash that was counted in the drawer."""

    cash_actual: Annotated[
        int,
        Field(
            ge=-MAX_IN_DRAWER,
            le=MAX_IN_DRAWER,
            description="The cash in the drawer without the float, minor units. Negative only if `cash_expected` is, because"
            " more was refunded than taken.",
        ),
    ]
    note: Annotated[Printable, Field(max_length=500)] | None = Field(
        None, description="Why it differs from `cash_expected`; required if it does"
    )


class OverrideIn(Body):
    """One business day that ends at another time."""

    business_date: Day
    ends_at_local: LocalTime
    reason: Annotated[Printable, Field(max_length=200)] | None = None

    def to_request(self) -> OverrideRequest:
        """Convert to the use-case's ``OverrideRequest``.

        Raises ``InvalidRequest`` for a date that does not exist.
        """
        return OverrideRequest.of(self.business_date, self.ends_at_local, self.reason)


SettlementLineKind = TypeAliasType("SettlementLineKind", Literal["payment", "refund", "adjustment"])
StatementPolicy = TypeAliasType("StatementPolicy", Statements)


class Totals(BaseModel):
    """Sums in minor units, where net = gross - refunds - fees + adjustments."""

    count: Count
    gross: Minor
    refunds: Minor
    fees: Minor
    adjustments: Minor
    net: Minor


class Breakdown(BaseModel):
    """The totals of a settlement by payment method."""

    cash: Totals
    qr: Annotated[dict[str, Totals], Field(description="By provider")]
    card: Annotated[dict[str, Totals], Field(description="By brand; `unknown` if it was not reported")]
    emoney: Annotated[dict[str, Totals], Field(description="By brand; `unknown` if it was not reported")]
    other: Annotated[Totals, Field(description="Corrections, which have no method")]


class InDoubt(BaseModel):
    """Payments whose outcome was unknown at the close; they are in no total."""

    count: Count
    amount: Minor


class UncomparedProvider(BaseModel):
    """Lines of one provider that were not compared.

    ``is_policy`` is true if the statement policy says that this provider sends no statements.
    """

    provider: str
    count: Count
    amount: Minor
    fees: Minor
    is_policy: bool


class UncomparedOut(BaseModel):
    """The count and sums of the lines that the last run could not compare. Amounts are in minor units.

    If ``needs_acceptance`` is true, the day is signed off only after a person has accepted these lines.
    """

    count: Count
    amount: Minor
    fees: Minor
    providers: list[UncomparedProvider]
    needs_acceptance: bool
    accepted_by: str | None
    accepted_at: datetime | None
    note: str | None


class PolicyIn(Body):
    """A store's statement policy: whether the provider sends statements for the store, and a note with the reason."""

    provider: StatementProvider
    statements: Statements
    note: Annotated[Printable, Field(min_length=1, max_length=500)]

    def to_request(self) -> PolicyRequest:
        """Convert to the use-case's ``PolicyRequest``."""
        return PolicyRequest(self.provider, self.statements, self.note)


class PolicyOut(BaseModel):
    """A store's statement policy: whether the provider sends statements for the store, with its author and date."""

    store_id: str
    provider: str
    statements: StatementPolicy
    note: str
    changed_at: datetime
    changed_by: str


class PoliciesOut(BaseModel):
    """The statement policies of a store, newest first. The newest of each provider applies."""

    data: list[PolicyOut]


class SettlementOut(BaseModel):
    """A store's business day in one currency. In lists, open settlements have no totals."""

    id: str
    merchant_id: str
    store_id: str
    currency: Currency
    business_date: date
    start_at: datetime
    end_at: datetime
    time_zone: Annotated[str, Field(description="IANA name", examples=["Asia/Tokyo"])]
    cut_off: CutOffOut
    status: SettlementStatus
    version: Version
    totals: Totals | None
    breakdown: Breakdown | None
    late_count: Count | None
    in_doubt: InDoubt | None
    cash_expected: Minor | None
    cash_actual: Minor | None
    cash_discrepancy: Minor | None
    note: str | None
    open_breaks: Count
    uncompared: UncomparedOut | None
    created_at: datetime
    closed_at: datetime | None
    reconciled_at: datetime | None
    reconciled_by: str | None


class SettlementsOut(BaseModel):
    """A page of settlements, newest first."""

    data: list[SettlementOut]
    next_cursor: Cursor


class LineOut(BaseModel):
    """A payment, refund or correction in its settlement; refunds are negative."""

    kind: SettlementLineKind
    entity_id: str
    settlement_id: str
    payment_id: str | None
    provider: str
    provider_reference: str | None
    our_reference: str | None
    method_type: MethodType | None
    brand: str | None
    currency: Currency
    amount: Minor
    tip_amount: Minor
    fee: Minor
    occurred_at: datetime
    business_date: date
    is_late: bool


class LinesOut(BaseModel):
    """A page of settlement lines."""

    data: list[LineOut]
    next_cursor: Cursor


class OverrideOut(BaseModel):
    """One business day that ends at another time."""

    store_id: str
    business_date: date
    ends_at_local: Annotated[str, Field(description="Local time of the store, without an offset")]
    ends_at: datetime
    reason: str | None
    created_at: datetime
    created_by: str
