"""Switches: what an operator turned on or off for the whole installation, without a deploy."""

from dataclasses import dataclass

from sqlalchemy import text

from workflows.database import Role, transaction

MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Whether the installation is closed for now, and what callers are told."""

    is_on: bool
    message: str | None


_READ = text("SELECT is_on, message FROM switches WHERE name = :name")


async def read_maintenance() -> Maintenance:
    """The maintenance switch; off where nobody ever touched it."""
    async with transaction(Role.ACCEPT) as connection:
        row = (await connection.execute(_READ, {"name": MAINTENANCE})).one_or_none()
    return Maintenance(is_on=bool(row and row.is_on), message=row.message if row else None)
