"""Find payments that are due now (see ``workflows.processing.due``)."""

from workflows.processing.due import DueRow, ahead_statement, due_statement, find_ahead, find_due
from workflows.settings import Settings

_DUE = due_statement(
    "payment",
    """CASE
        WHEN status = 'pending' AND expires_at <= now() AND processing_mode = 'provider' THEN 'expired'
        WHEN status = 'pending' THEN 'lost_nudge'
        WHEN lease_until IS NOT NULL THEN 'run_out_lease'
        WHEN NOT outcome_known THEN 'inquiry'
        WHEN next_action IS NOT NULL THEN 'poll'
        ELSE 'retry' END""",
)
_AHEAD = ahead_statement("payment")


async def find_due_payments(*, limit: int) -> list[DueRow]:
    """Return up to ``limit`` payments of each provider, longest overdue first."""
    return await find_due(_DUE, limit=limit)


async def find_payments_ahead(*, limit: int, settings: Settings) -> list[DueRow]:
    """Return up to ``limit`` payments that are due later than any schedule sets."""
    return await find_ahead(_AHEAD, limit=limit, settings=settings)
