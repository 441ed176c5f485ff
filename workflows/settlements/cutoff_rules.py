"""Load the cut-off rules of stores, with their overrides, as they are now."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.settlements.periods import REACH_DAYS, CutoffRule


@dataclass(frozen=True, slots=True)
class StoreRule:
    """A store's cut-off rule with its overrides.

    ``changed_at`` is when the store's row was last changed. An override does not change it.
    """

    store_id: str
    merchant_id: str
    changed_at: datetime
    rule: CutoffRule


_STORES = text("SELECT id, merchant_id, time_zone, cut_off, updated_at FROM stores WHERE id = ANY(:ids)")
_OVERRIDES = text("""
    -- overrides: those of all business days that a period starting at :since or later may touch
    SELECT store_id, business_date, ends_at_local FROM settlement_overrides
    WHERE store_id = ANY(:ids) AND business_date >= :since
""")


async def load_rules(
    connection: AsyncConnection, store_ids: Collection[str], *, since: datetime
) -> dict[str, StoreRule]:
    """Return the rules of stores by store id, for periods that begin at ``since`` or later."""
    ids = sorted(set(store_ids))
    earliest = since.date() - timedelta(days=REACH_DAYS)
    overrides: dict[str, dict[date, datetime]] = {}
    for row in await connection.execute(_OVERRIDES, {"ids": ids, "since": earliest}):
        overrides.setdefault(row.store_id, {})[row.business_date] = row.ends_at_local
    return {
        row.id: StoreRule(
            row.id,
            row.merchant_id,
            changed_at=row.updated_at,
            rule=CutoffRule(row.time_zone, row.cut_off, overrides.get(row.id, {})),
        )
        for row in await connection.execute(_STORES, {"ids": ids})
    }
