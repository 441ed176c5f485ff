"""I3, our half: a final status is a known outcome, dated once, on which nobody works any more."""

from workflows.invariants.rule import Rule

RULES = (
    Rule(
        invariant="I3",
        name="known outcomes",
        sentence="A final payment has a known outcome, its date, no lease, nothing due.",
        checked="SELECT count(*) FROM payments WHERE status NOT IN ('pending', 'processing')",
        violations="""
            SELECT id, concat_ws(', ',
                CASE WHEN NOT outcome_known THEN status || ' with an unknown outcome' END,
                CASE WHEN lease_until IS NOT NULL THEN status || ' and still leased' END,
                CASE WHEN due_at IS NOT NULL THEN status || ' and still due' END,
                CASE WHEN (completed_at IS NULL) <> (status NOT IN ('completed', 'refunded'))
                    THEN format('%s, completed at %s', status, coalesce(completed_at::text, 'no time')) END,
                CASE WHEN (failed_at IS NULL) <> (status <> 'failed')
                    THEN format('%s, failed at %s', status, coalesce(failed_at::text, 'no time')) END,
                CASE WHEN (cancelled_at IS NULL) <> (status <> 'cancelled')
                    THEN format('%s, cancelled at %s', status, coalesce(cancelled_at::text, 'no time')) END) AS problem
            FROM payments
            WHERE status NOT IN ('pending', 'processing')
              AND (NOT outcome_known OR lease_until IS NOT NULL OR due_at IS NOT NULL
                   OR (completed_at IS NULL) <> (status NOT IN ('completed', 'refunded'))
                   OR (failed_at IS NULL) <> (status <> 'failed')
                   OR (cancelled_at IS NULL) <> (status <> 'cancelled'))
        """,
    ),
)
