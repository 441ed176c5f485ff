"""Bodies of requests and answers about bills."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, model_validator

from api.schemas.base import Amount, Body, Id
from api.schemas.integer_types import Currency, Cursor, Minor, Version
from workflows.bills.states import BillStatus
from workflows.bills.void_and_split import BillSplit

MAX_ORDERS = 50  # as many as one table may have; each order is locked while the bill is created
MAX_PARTS = 100


def _check_distinct(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("Must name each once")
    return values


class BillIn(Body):
    """A bill for one order."""

    order_id: Id


class CombineIn(Body):
    """One bill for several orders."""

    order_ids: Annotated[list[Id], Field(min_length=2, max_length=MAX_ORDERS), AfterValidator(_check_distinct)]


class SplitIn(Body):
    """How to split a bill. Exactly one of the three fields is required."""

    parts: Annotated[
        int | None,
        Field(ge=2, le=MAX_PARTS, description="Number of equal parts; the first ones are one unit larger if needed"),
    ] = None
    amounts: Annotated[
        list[Amount] | None, Field(min_length=2, max_length=MAX_PARTS, description="Amounts that add up to the bill")
    ] = None
    items: Annotated[
        list[Annotated[list[Id], Field(min_length=1)]] | None,
        Field(
            min_length=2,
            max_length=MAX_PARTS,
            description="For each part, the ids of its items; each item is in one part",
        ),
    ] = None

    @model_validator(mode="after")
    def _one_of_three(self) -> "SplitIn":
        given = [name for name in ("parts", "amounts", "items") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("Send exactly one of parts, amounts or items")
        return self

    def to_splitting(self) -> BillSplit:
        """Convert to the use-case's ``BillSplit``."""
        return BillSplit(
            parts=self.parts,
            amounts=None if self.amounts is None else tuple(self.amounts),
            items=None if self.items is None else tuple(tuple(group) for group in self.items),
        )


class BillOut(BaseModel):
    """A bill."""

    id: str
    bill_number: str
    order_ids: list[str]
    parent_bill_id: Annotated[str | None, Field(description="The bill of which this is a part")]
    status: BillStatus
    currency: Currency
    subtotal: Minor
    tax_amount: Minor
    discount_amount: Minor
    total_amount: Minor
    paid_amount: Minor
    reserved_amount: Annotated[Minor, Field(description="Reserved by payments in progress")]
    balance_amount: Annotated[Minor, Field(description="The largest amount of a new payment")]
    refunded_amount: Annotated[Minor, Field(description="Refunded after it was paid in full; it stays paid")]
    paid_at: datetime | None
    voided_at: datetime | None
    store_id: str
    merchant_id: str
    version: Version
    created_at: datetime
    updated_at: datetime


class BillsOut(BaseModel):
    """A page of bills, newest first."""

    data: list[BillOut]
    next_cursor: Cursor


class PartsOut(BaseModel):
    """The parts of a bill, in the requested order."""

    data: list[BillOut]
