"""Find refunds that are due now (see ``workflows.processing.due``)."""

from workflows.processing.due import DueRow, ahead_statement, due_statement, find_ahead, find_due
from workflows.settings import Settings

_DUE = due_statement(
    "refund",
    """CASE
        WHEN status = 'pending' THEN 'lost_nudge'
        WHEN lease_until IS NOT NULL THEN 'run_out_lease'
        WHEN NOT outcome_known THEN 'inquiry'
        ELSE 'retry' END""",
)
_AHEAD = ahead_statement("refund")


async def find_due_refunds(*, limit: int) -> list[DueRow]:
    """Return up to ``limit`` refunds of each provider, longest overdue first."""
    return await find_due(_DUE, limit=limit)


async def find_refunds_ahead(*, limit: int, settings: Settings) -> list[DueRow]:
    """Return up to ``limit`` refunds that are due later than any schedule sets."""
    return await find_ahead(_AHEAD, limit=limit, settings=settings)
