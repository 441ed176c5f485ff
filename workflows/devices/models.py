"""Tables of devices (terminals), activation codes, used assertions and history, and the type of a device's row.

``tests/unit/database/test_row_types.py`` compares the row type with the columns.
"""

from datetime import datetime
from typing import TypedDict

from sqlalchemy import ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import INSTANT, HistoryRow


class Device(Base):
    """A device: a terminal of a store."""

    __tablename__ = "devices"
    __table_args__ = (
        # Unique among devices in use. A deactivated device keeps its row, but another device may get its serial number.
        Index(
            "devices_serial_number_key", "serial_number", unique=True, postgresql_where=text("status <> 'deactivated'")
        ),
        Index("devices_by_serial_number", "serial_number"),
        UniqueConstraint("client_id", name="devices_client_id_key"),
        Index("devices_by_store", "store_id", "id"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text, ForeignKey("stores.id", name="devices_store_fk"))
    serial_number: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    client_id: Mapped[str | None] = mapped_column(Text)
    public_key_pem: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    activated_at: Mapped[datetime | None] = mapped_column(INSTANT)
    suspended_at: Mapped[datetime | None] = mapped_column(INSTANT)
    deactivated_at: Mapped[datetime | None] = mapped_column(INSTANT)
    last_connected_at: Mapped[datetime | None] = mapped_column(INSTANT)


class DeviceHistory(HistoryRow, Base):
    """The history of a device, one row per version."""

    __tablename__ = "device_history"

    device_id: Mapped[str] = mapped_column(Text, ForeignKey("devices.id"), primary_key=True)


class ActivationCode(Base):
    """The hash of a device's current activation code. A new code replaces it."""

    __tablename__ = "activation_codes"

    device_id: Mapped[str] = mapped_column(Text, ForeignKey("devices.id"), primary_key=True)
    code_hash: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(INSTANT)
    tries: Mapped[int]
    used_at: Mapped[datetime | None] = mapped_column(INSTANT)
    created_at: Mapped[datetime] = mapped_column(INSTANT)


class UsedAssertion(Base):
    """A client assertion that was exchanged for a token and cannot be used again."""

    __tablename__ = "used_assertions"
    __table_args__ = (Index("used_assertions_by_expiry", "expires_at"),)

    client_id: Mapped[str] = mapped_column(Text, primary_key=True)
    jti: Mapped[str] = mapped_column(Text, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(INSTANT)


class DeviceRow(TypedDict):
    """A row of ``devices``."""

    id: str
    merchant_id: str
    store_id: str
    serial_number: str
    name: str
    model: str
    status: str
    version: int
    client_id: str | None
    public_key_pem: str | None
    created_at: datetime
    activated_at: datetime | None
    suspended_at: datetime | None
    deactivated_at: datetime | None
    last_connected_at: datetime | None
