"""Tables of the ledger: accounts, journals and their entries."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import INSTANT


class LedgerAccount(Base):
    """An account of a merchant, for one kind, provider and currency."""

    __tablename__ = "ledger_accounts"
    __table_args__ = (UniqueConstraint("merchant_id", "kind", "provider", "currency", name="ledger_accounts_key"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)


class LedgerJournal(Base):
    """A posted movement of money. The amounts of its entries sum to zero.

    ``(source_id, kind)`` is unique. Each partition has its own constraint (migration 0039), which SQLAlchemy does not see.
    """

    __tablename__ = "ledger_journals"
    __table_args__ = (
        Index("ledger_journals_by_merchant", "merchant_id", "id"),
        Index("ledger_journals_by_payment", "payment_id", postgresql_where=text("source_id <> payment_id")),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    source_id: Mapped[str] = mapped_column(Text)
    payment_id: Mapped[str | None] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    occurred_at: Mapped[datetime] = mapped_column(INSTANT)
    posted_at: Mapped[datetime] = mapped_column(INSTANT)


class LedgerEntry(Base):
    """The amount that a journal posts to an account. Debits are positive, credits negative."""

    __tablename__ = "ledger_entries"
    __table_args__ = (Index("ledger_entries_by_account", "account_id"),)

    journal_id: Mapped[str] = mapped_column(Text, primary_key=True)
    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    account_id: Mapped[str] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)
