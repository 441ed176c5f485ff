"""Due: which refunds somebody should look at now (as ``workflows.payments.due``)."""

from workflows.payments.due import Due, ahead_statement, due_statement, look, slack
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


async def find_due_refunds(*, limit: int) -> list[Due]:
    """Return up to ``limit`` refunds of each provider, longest overdue first."""
    return await look(_DUE, limit=limit)


async def find_refunds_ahead(*, limit: int, settings: Settings) -> list[Due]:
    """Return up to ``limit`` refunds whose due time no schedule can have set."""
    return await look(_AHEAD, limit=limit, **slack(settings))
