"""Read the lines of a settlement that a provider would report."""

from sqlalchemy import text

from mpac.cli.errors import UserError
from mpac.devtools.statement.lines import SourceLine
from workflows.database.engines import Role, connect, disconnect, transaction
from workflows.settings import load_settings

_LINES = text("""
    SELECT kind, entity_id, our_reference, provider_reference, amount, currency, fee, occurred_at
    FROM settlement_lines WHERE settlement_id = :id AND provider = :provider AND kind <> 'adjustment'
    ORDER BY occurred_at, entity_id
""")
_KNOWN = text("SELECT status FROM settlements WHERE id = :id")


async def read_lines(settlement_id: str, *, provider: str) -> list[SourceLine]:
    """Return the lines of ``provider`` in a closed settlement. Raises ``UserError``."""
    connect(load_settings(), roles=(Role.OWNER,))
    try:
        async with transaction(Role.OWNER) as connection:
            status = (await connection.execute(_KNOWN, {"id": settlement_id})).scalar_one_or_none()
            rows = (await connection.execute(_LINES, {"id": settlement_id, "provider": provider})).all()
    finally:
        await disconnect()
    if status is None:
        raise UserError("There is no such settlement: list them with GET /api/v1/settlements.")
    if status == "open":
        raise UserError("This settlement is still open: close it first with POST /api/v1/settlements/ID/close.")
    return [SourceLine(*row) for row in rows]
