"""Health: whether the database would take a payment now."""

from sqlalchemy import text

from workflows.database import Role, transaction


async def database_answers() -> None:
    """Ask the database something. Raises ``ServiceUnavailable`` where it does not answer."""
    async with transaction(Role.ACCEPT) as connection:
        await connection.execute(text("SELECT 1"))
