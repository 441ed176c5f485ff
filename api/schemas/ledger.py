"""Responses about the ledger."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas.enumerations import AccountKind, JournalKind
from api.schemas.integer_types import Currency, Cursor, Minor


class AccountOut(BaseModel):
    """A merchant's account of one kind, at one provider, in one currency; debits are positive."""

    id: str
    merchant_id: str
    kind: AccountKind
    provider: str
    currency: Currency
    created_at: datetime
    balance: Minor


class AccountsOut(BaseModel):
    """A page of accounts."""

    data: list[AccountOut]
    next_cursor: Cursor


class EntryOut(BaseModel):
    """An amount on one account; debits are positive."""

    account_id: str
    account: AccountKind
    provider: str
    amount: Minor


class JournalOut(BaseModel):
    """One movement of money. Its entries add up to zero."""

    id: str
    merchant_id: str
    store_id: str
    kind: JournalKind
    source_id: Annotated[str, Field(description="The payment, refund, adjustment, count or payout that it records")]
    payment_id: str | None
    currency: Currency
    occurred_at: datetime
    posted_at: datetime
    entries: list[EntryOut]


class JournalsOut(BaseModel):
    """A page of journals, newest first."""

    data: list[JournalOut]
    next_cursor: Cursor
