"""I9: no accepted payment is forgotten, and none stays open for ever.

| open payment | its bound |
|---|---|
| nobody knows of any doubt | its expiry, the longest outage to be survived (F6, F7: 10 min), time to catch up |
| its outcome is unknown | when a person must have been asked, one hourly question (±20 %) and that same outage later |
| ``needs_review`` | none: a person has been asked |
"""

from workflows.invariants.rule import Rule

OUTAGE_SECONDS = 900
LAST_QUESTION_SECONDS = 3_600 * 1.2
OPEN = "status IN ('pending', 'processing')"

RULES = (
    Rule(
        invariant="I9",
        name="looked after",
        sentence="Every open payment will be looked at again, or a person was asked.",
        checked=f"SELECT count(*) FROM payments WHERE {OPEN}",
        violations=f"""
            SELECT id, status || ' and nobody will look at it again' AS problem FROM payments
            WHERE {OPEN} AND due_at IS NULL AND NOT needs_review
        """,
    ),
    Rule(
        invariant="I9",
        name="final within its bound",
        sentence="Every open payment is within its bound, or a person was asked.",
        checked=f"SELECT count(*) FROM payments WHERE {OPEN}",
        violations=f"""
            SELECT id, CASE WHEN outcome_known THEN format('%s since %s, expired at %s', status, created_at, expires_at)
                ELSE format('in doubt since %s', coalesce(in_doubt_since::text, 'nobody knows when')) END AS problem
            FROM payments
            WHERE {OPEN} AND NOT needs_review AND CASE WHEN outcome_known
                THEN now() > expires_at + make_interval(secs => {OUTAGE_SECONDS})
                ELSE in_doubt_since IS NULL OR now() > in_doubt_since + make_interval(
                    secs => CAST(:review_after_seconds AS double precision) + {LAST_QUESTION_SECONDS + OUTAGE_SECONDS}) END
        """,
    ),
)
