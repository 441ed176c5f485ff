"""Tables of the tenant tree (PSPs, merchants, stores, and the providers of stores), and the types of their rows.

``tests/unit/database/test_row_types.py`` compares the row types with the columns.
"""

from datetime import datetime, time
from typing import TypedDict

from sqlalchemy import ForeignKey, Index, LargeBinary, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import TIME as PG_TIME
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import INSTANT


class Psp(Base):
    """A payment service provider, which has merchants."""

    __tablename__ = "psps"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)


class Merchant(Base):
    """A company, which has stores."""

    __tablename__ = "merchants"
    __table_args__ = (Index("merchants_by_psp", "psp_id", "id"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    psp_id: Mapped[str] = mapped_column(Text, ForeignKey("psps.id", name="merchants_psp_fk"))
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    updated_at: Mapped[datetime] = mapped_column(INSTANT)


class Store(Base):
    """A place with terminals. Its time zone and cut-off define the end of its business day."""

    __tablename__ = "stores"
    __table_args__ = (Index("stores_by_merchant", "merchant_id", "id"), Index("stores_by_currency", "currency"))

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text, ForeignKey("merchants.id", name="stores_merchant_fk"))
    name: Mapped[str] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    time_zone: Mapped[str] = mapped_column(Text)
    cut_off: Mapped[time] = mapped_column(PG_TIME)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    updated_at: Mapped[datetime] = mapped_column(INSTANT)


class StoreProvider(Base):
    """A provider that a store may use, with its payment methods and its priority among the store's providers."""

    __tablename__ = "store_providers"
    __table_args__ = (UniqueConstraint("store_id", "provider", name="store_providers_one_each"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text, ForeignKey("stores.id", name="store_providers_store_fk"))
    provider: Mapped[str] = mapped_column(Text)
    methods: Mapped[list[str]] = mapped_column(ARRAY(Text))
    priority: Mapped[int]
    enabled: Mapped[bool]
    credentials: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    updated_at: Mapped[datetime] = mapped_column(INSTANT)


class MerchantRow(TypedDict):
    """A row of ``merchants``."""

    id: str
    psp_id: str
    name: str
    created_at: datetime
    updated_at: datetime


class StoreRow(TypedDict):
    """A row of ``stores``."""

    id: str
    merchant_id: str
    name: str
    currency: str
    time_zone: str
    cut_off: time
    created_at: datetime
    updated_at: datetime


class StoreProviderRow(TypedDict):
    """A row of ``store_providers``."""

    id: str
    merchant_id: str
    store_id: str
    provider: str
    methods: list[str]
    priority: int
    enabled: bool
    credentials: bytes | None
    created_at: datetime
    updated_at: datetime
