"""The ledger: what is shown."""

from datetime import datetime

from pydantic import BaseModel


class AccountOut(BaseModel):
    """A merchant's account of one kind, at one provider, in one currency; debits are positive."""

    id: str
    merchant_id: str
    kind: str
    provider: str
    currency: str
    created_at: datetime
    balance: int


class AccountsOut(BaseModel):
    """A page of accounts."""

    data: list[AccountOut]
    next_cursor: str | None


class EntryOut(BaseModel):
    """An amount on one account; debits are positive."""

    account_id: str
    account: str
    provider: str
    amount: int


class JournalOut(BaseModel):
    """One thing that happened to money; its entries sum to zero."""

    id: str
    merchant_id: str
    store_id: str
    kind: str
    source_id: str
    payment_id: str | None
    currency: str
    occurred_at: datetime
    posted_at: datetime
    entries: list[EntryOut]


class JournalsOut(BaseModel):
    """A page of journals, newest first."""

    data: list[JournalOut]
    next_cursor: str | None
