"""Maintenance mode: a switch with which an operator closes the whole installation without a deployment."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Text, text
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base, Role, transaction
from workflows.database.mixins import INSTANT
from workflows.tenants.caller import Caller, caller_transaction

MAINTENANCE = "maintenance"


class Switch(Base):
    """A feature that an operator turned on or off for the whole installation."""

    __tablename__ = "switches"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    is_on: Mapped[bool]
    message: Mapped[str | None] = mapped_column(Text)
    changed_by: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[datetime] = mapped_column(INSTANT)


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Whether the installation is closed, and the message that callers get."""

    is_on: bool
    message: str | None


_READ = text("SELECT is_on, message FROM switches WHERE name = :name")


async def read_maintenance() -> Maintenance:
    """Return the maintenance switch; it is off if it was never set."""
    async with transaction(Role.ACCEPT) as connection:
        row = (await connection.execute(_READ, {"name": MAINTENANCE})).one_or_none()
    return Maintenance(is_on=bool(row and row.is_on), message=row.message if row else None)


_SET = text("""
    INSERT INTO switches (name, is_on, message, changed_by, changed_at) VALUES (:name, :is_on, :message, :by, now())
    ON CONFLICT (name) DO UPDATE SET is_on = :is_on, message = :message, changed_by = :by, changed_at = now()
""")


async def set_maintenance(wanted: Maintenance, *, caller: Caller) -> None:
    """Close the installation to everyone except operators (``/ops``), or open it again.

    Every process notices within a second.
    """
    async with caller_transaction(caller) as connection:
        row = {"name": MAINTENANCE, "is_on": wanted.is_on, "message": wanted.message, "by": caller.id}
        await connection.execute(_SET, row)
