"""Record a count of the cash drawer, and its difference from the expected amount.

| settlement        | what happens                                                                                            |
|-------------------|---------------------------------------------------------------------------------------------------------|
| open              | refused: the expected amount is known only when the period is closed                                    |
| closed            | the count and its note are stored with a remark in the history; the difference is posted to the ledger  |
| closed, recounted | the same, with another remark; only the change in the difference is posted to the ledger                |
| reconciled        | refused: the settlement is signed off                                                                   |
"""

from typing import cast

from sqlalchemy import text

from workflows.errors import Detail, InvalidRequest
from workflows.ledger.post_journals import CASH_PROVIDER, JournalKind, Transfer, post_transfer
from workflows.settlements.models import SettlementRow
from workflows.settlements.states import SETTLEMENT, SettlementRemark, SettlementStatus
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.query_helpers import one_row
from workflows.tenants.scope import IN_SCOPE, scope_params
from workflows.transitions import ChangeContext, apply, invalid_transition_error

BELOW_EXPECTED = "Must be greater than or equal to 0, because the expected amount is not negative"

_LOCK = text(f"""
    SELECT status, cash_expected, cash_actual, clock_timestamp() AS at
    FROM settlements WHERE id = :id AND {IN_SCOPE} FOR UPDATE
""")


async def count_cash(
    settlement_id: str, *, cash_actual: int, note: str | None, caller: Caller, request_id: str
) -> SettlementRow:
    """Record a count of ``cash_actual`` minor units and return the settlement's row.

    ``cash_actual`` does not include the float, so it is negative if more cash was refunded than taken.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (not closed, or reconciled), ``InvalidRequest`` (a difference
    without a note, or a negative count although the expected amount is not negative) and ``ServiceUnavailable``.
    """
    async with caller_transaction(caller) as connection:
        found = await one_row(connection, _LOCK, {"id": settlement_id, **scope_params(caller)})
        if found["status"] != SettlementStatus.CLOSED:
            raise invalid_transition_error(SETTLEMENT, found["status"], SettlementRemark.COUNT_CASH)
        if cash_actual < 0 <= found["cash_expected"]:
            raise InvalidRequest(Detail("cash_actual", BELOW_EXPECTED))
        difference = cash_actual - found["cash_expected"]
        if difference and not note:
            raise InvalidRequest(Detail("note", f"Explain why the drawer is off by {difference:+d}"))
        row = await apply(
            connection,
            SETTLEMENT,
            entity_id=settlement_id,
            event=SettlementRemark.COUNT_CASH,
            by=ChangeContext.caller(caller, at=found["at"], request_id=request_id, reason=note),
            changes={"cash_actual": cash_actual, "note": note},
        )
        settlement = cast(SettlementRow, row)
        posted = 0 if found["cash_actual"] is None else found["cash_actual"] - found["cash_expected"]
        if difference != posted:
            await post_transfer(connection, _journal(settlement, amount=difference - posted))
    return settlement


def _journal(row: SettlementRow, *, amount: int) -> Transfer:
    assert row["closed_at"]  # noqa: S101 - an open settlement was refused before
    return Transfer(
        JournalKind.CASH_DIFFERENCE,
        source_id=f"{row['id']}:{row['version']}",
        merchant_id=row["merchant_id"],
        store_id=row["store_id"],
        provider=CASH_PROVIDER,
        currency=row["currency"],
        amount=amount,
        occurred_at=row["closed_at"],
    )
