"""Find the tenant for a token if the command line names only a part of the tenant, or nothing."""

from sqlalchemy import text

from mpac.cli.errors import UserError
from mpac.devtools.user_tokens import Tenant
from workflows.database.engines import connect, disconnect
from workflows.settings import load_settings
from workflows.tenants.caller import Caller, CallerRole, caller_transaction

_FIND = text("""
    SELECT m.psp_id, m.id AS merchant_id, s.id AS store_id FROM merchants m LEFT JOIN stores s ON s.merchant_id = m.id
    WHERE (CAST(:merchant_id AS text) IS NULL OR m.id = :merchant_id)
      AND (CAST(:store_id AS text) IS NULL OR s.id = :store_id)
    ORDER BY m.id DESC, s.id DESC LIMIT 1
""")


async def find_tenant(*, merchant_id: str | None, store_id: str | None) -> Tenant:
    """Return the tenant with this merchant and store, by default the newest one.

    Raises ``UserError`` if there is none.
    """
    connect(load_settings())
    try:
        async with caller_transaction(Caller("mpac", CallerRole.SYSTEM_OP)) as connection:
            parameters = {"merchant_id": merchant_id, "store_id": store_id}
            row = (await connection.execute(_FIND, parameters)).one_or_none()
    finally:
        await disconnect()
    if row is None:
        if merchant_id is None and store_id is None:
            raise UserError("There is no merchant yet: create some with `python3 run.py seed`.")
        raise UserError(
            "There is no such merchant or store, or the store belongs to another merchant: see GET /api/v1/stores."
        )
    return Tenant(row.psp_id, row.merchant_id, row.store_id or "")
