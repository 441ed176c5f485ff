"""The tables of the rivals, their ids and their settings, which come from the environment (``RIVAL_…``)."""

import os
from datetime import UTC, datetime
from typing import Any

import uuid_utils
from sqlalchemy import BigInteger, DateTime, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DATABASE_URL = os.environ.get("RIVAL_DATABASE_URL", "")
BROKER_URL = os.environ.get("RIVAL_BROKER_URL", "")
SANDBOX_URL = os.environ.get("RIVAL_SANDBOX_URL", "")
SANDBOX_API_KEY = os.environ.get("RIVAL_SANDBOX_API_KEY", "")
TOKEN_SECRET = os.environ.get("RIVAL_TOKEN_SECRET", "")

Instant = DateTime(timezone=True)


class Base(DeclarativeBase):
    """The base class of the tables."""


class Device(Base):
    """A terminal."""

    __tablename__ = "devices"

    id: Mapped[str] = mapped_column(primary_key=True)
    merchant_id: Mapped[str]
    store_id: Mapped[str]
    status: Mapped[str]


class Payment(Base):
    """A payment."""

    __tablename__ = "payments"
    __table_args__ = (UniqueConstraint("merchant_id", "client_reference"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    merchant_id: Mapped[str]
    store_id: Mapped[str]
    device_id: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    version: Mapped[int]
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    method: Mapped[dict[str, Any]] = mapped_column(JSONB)
    client_reference: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
    provider_reference: Mapped[str | None]
    failure_code: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(Instant)
    processing_at: Mapped[datetime | None] = mapped_column(Instant)
    completed_at: Mapped[datetime | None] = mapped_column(Instant)
    failed_at: Mapped[datetime | None] = mapped_column(Instant)


class PaymentHistory(Base):
    """A change of status."""

    __tablename__ = "payment_history"

    payment_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    from_status: Mapped[str | None]
    to_status: Mapped[str]
    at: Mapped[datetime] = mapped_column(Instant)


class PaymentAttempt(Base):
    """A call to the provider, recorded before it is made."""

    __tablename__ = "payment_attempts"

    payment_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(unique=True)
    sent_at: Mapped[datetime] = mapped_column(Instant)
    answered_at: Mapped[datetime | None] = mapped_column(Instant)
    outcome: Mapped[str | None]


class IdempotencyRecord(Base):
    """The stored answer of an idempotency key."""

    __tablename__ = "idempotency_records"

    merchant_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    body: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Instant)


def new_id() -> str:
    """Return a new payment id, a UUIDv7 like the product's, so that indexes grow at their end."""
    return f"pay_{uuid_utils.uuid7().hex}"


def now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)
