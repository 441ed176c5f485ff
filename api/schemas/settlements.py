"""Settlements: what comes in and what goes out."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from api.schemas.base import Body, Printable
from api.schemas.outputs import Count, Currency, Cursor, Minor, Version
from api.schemas.patterns import DAY_PATTERN, LOCAL_TIME_PATTERN
from api.schemas.payments import MethodType
from api.schemas.providers import StatementProvider
from api.schemas.stores import CutOffOut
from workflows.money import MAX_AMOUNT
from workflows.reconciliation.statement_policy import PolicyRequest, Statements
from workflows.settlements.override import OverrideRequest
from workflows.settlements.states import SettlementStatus

LocalTime = Annotated[
    str,
    Field(
        pattern=LOCAL_TIME_PATTERN,
        description="By the store's own clocks, without an offset",
        examples=["2026-11-24T03:00"],
    ),
]
Day = Annotated[
    str,
    Field(pattern=DAY_PATTERN, description="A date", examples=["2026-11-23"]),
]

MAX_IN_DRAWER = 1_000 * MAX_AMOUNT  # more than any day's sales of any size, and exact for every reader of JSON


class CashCountIn(Body):
    """What was counted in the drawer."""

    cash_actual: Annotated[
        int,
        Field(
            ge=-MAX_IN_DRAWER,
            le=MAX_IN_DRAWER,
            description="Minor units; what is in the drawer. Below zero only where `cash_expected` is, because more was given"
            " back than taken, out of the float.",
        ),
    ]
    note: Annotated[Printable, Field(max_length=500)] | None = Field(
        None, description="Why it is not what it should be; needed where it is not"
    )


class OverrideIn(Body):
    """One business day that ends at another time."""

    business_date: Day
    ends_at_local: LocalTime
    reason: Annotated[Printable, Field(max_length=200)] | None = None

    def to_request(self) -> OverrideRequest:
        """The same in the domain's words. Raises ``InvalidRequest`` for a date that no calendar has."""
        return OverrideRequest.of(self.business_date, self.ends_at_local, self.reason)


SettlementLineKind = TypeAliasType("SettlementLineKind", Literal["payment", "refund", "adjustment"])
StatementPolicy = TypeAliasType("StatementPolicy", Statements)


class Totals(BaseModel):
    """Sums in minor units: net = gross - refunds - fees + adjustments."""

    count: Count
    gross: Minor
    refunds: Minor
    fees: Minor
    adjustments: Minor
    net: Minor


class Breakdown(BaseModel):
    """The totals by method."""

    cash: Totals
    qr: Annotated[dict[str, Totals], Field(description="By provider")]
    card: Annotated[dict[str, Totals], Field(description="By brand; `unknown` if nobody reported it")]
    emoney: Annotated[dict[str, Totals], Field(description="By brand; `unknown` if nobody reported it")]
    other: Annotated[Totals, Field(description="What has no method: corrections")]


class InDoubt(BaseModel):
    """Payments of which nobody knew yet whether money had moved: in no total."""

    count: Count
    amount: Minor


class UncomparedProvider(BaseModel):
    """Lines of one provider that were compared with no statement; ``is_policy``: it sends this store none."""

    provider: str
    count: Count
    amount: Minor
    fees: Minor
    is_policy: bool


class UncomparedOut(BaseModel):
    """Lines that the last run could not compare, in minor units. While ``needs_acceptance``, only a person signs off."""

    count: Count
    amount: Minor
    fees: Minor
    providers: list[UncomparedProvider]
    needs_acceptance: bool
    accepted_by: str | None
    accepted_at: datetime | None
    note: str | None


class PolicyIn(Body):
    """Set whether a provider sends a store statements, and say why."""

    provider: StatementProvider
    statements: Statements
    note: Annotated[Printable, Field(min_length=1, max_length=500)]

    def to_request(self) -> PolicyRequest:
        """The same in the domain's words."""
        return PolicyRequest(self.provider, self.statements, self.note)


class PolicyOut(BaseModel):
    """A policy about statements, with its author and date."""

    store_id: str
    provider: str
    statements: StatementPolicy
    note: str
    changed_at: datetime
    changed_by: str


class PoliciesOut(BaseModel):
    """The policies of a store, newest first; of each provider the newest counts."""

    data: list[PolicyOut]


class SettlementOut(BaseModel):
    """A store's business day in one currency. Of an open one, lists leave out the figures."""

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
    """A page of lines."""

    data: list[LineOut]
    next_cursor: Cursor


class OverrideOut(BaseModel):
    """One business day that ends at another time."""

    store_id: str
    business_date: date
    ends_at_local: Annotated[str, Field(description="By the store's own clocks, without an offset")]
    ends_at: datetime
    reason: str | None
    created_at: datetime
    created_by: str
