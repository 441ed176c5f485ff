"""Whose merchant a request is about, where its caller stands above the merchants: that of what it names.

The tables of what stands above tenants are read by their names, and only as far as the caller sees them.
"""

from sqlalchemy import text

from workflows.tenants.caller import Caller, caller_transaction

_MERCHANT = text("""
    -- merchant: of a store, or of what happened in one; ids are unique over all tables
    SELECT merchant_id FROM stores WHERE id = :id
    UNION ALL SELECT merchant_id FROM payments WHERE id = :id
    UNION ALL SELECT merchant_id FROM orders WHERE id = :id
    UNION ALL SELECT merchant_id FROM bills WHERE id = :id
    UNION ALL SELECT merchant_id FROM settlements WHERE id = :id
    LIMIT 1
""")


async def merchant_of(caller: Caller, named: str) -> str | None:
    """The merchant of what ``named`` is the id of, or ``None`` where ``caller`` sees no such thing.

    Raises what ``caller_transaction`` raises.
    """
    async with caller_transaction(caller) as connection:
        merchant_id: str | None = (await connection.execute(_MERCHANT, {"id": named})).scalar()
    return merchant_id
