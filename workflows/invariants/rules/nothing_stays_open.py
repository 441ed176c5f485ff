"""I9: no accepted payment or refund is forgotten, and none stays open permanently.

| open payment or refund | must be final or in review by |
|---|---|
| its outcome is not in doubt | its expiry, plus the longest outage to survive (F6, F7: 10 min) and time to catch up |
| its outcome is unknown | the time of its review, plus one hourly inquiry (±20 %) and the same outage |
| ``needs_review`` | no limit: a person reviews it |
| a refund that needs action | no limit: a person at the till returns the money; the metrics show its age |

A refund has no expiry of its own: an hour is used, for a provider that is away or slow.
"""

from workflows.invariants.rule import Rule

OUTAGE_SECONDS = 900
LAST_INQUIRY_SECONDS = 3_600 * 1.2
OPEN = "status IN ('pending', 'processing')"
EXPIRES_AT = {"payment": "expires_at", "refund": "coalesce(reported_at, created_at) + interval '1 hour'"}
WAITS_FOR_A_PERSON = {"payment": "needs_review", "refund": "(needs_review OR needs_action)"}


def _is_due(entity: str) -> Rule:
    return Rule(
        invariant="I9",
        name=f"looked after: a {entity}",
        sentence=f"Every open {entity} has a due time, or waits for a person.",
        checked=f"SELECT count(*) FROM {entity}s WHERE {OPEN}",
        violations=f"""
            SELECT id, status || ' without a due time' AS problem FROM {entity}s
            WHERE {OPEN} AND due_at IS NULL AND NOT {WAITS_FOR_A_PERSON[entity]}
        """,
    )


def _within_limit(entity: str) -> Rule:
    until = EXPIRES_AT[entity]
    return Rule(
        invariant="I9",
        name=f"bound of a {entity}",
        sentence=f"Every open {entity} is within its time limit, or waits for a person.",
        checked=f"SELECT count(*) FROM {entity}s WHERE {OPEN}",
        violations=f"""
            SELECT id, CASE WHEN outcome_known THEN format('%s since %s, expired at %s', status, created_at, {until})
                ELSE format('in doubt since %s', coalesce(in_doubt_since::text, 'an unknown time')) END AS problem
            FROM {entity}s
            WHERE {OPEN} AND NOT {WAITS_FOR_A_PERSON[entity]} AND CASE WHEN outcome_known
                THEN now() > {until} + make_interval(secs => {OUTAGE_SECONDS})
                ELSE in_doubt_since IS NULL OR now() > in_doubt_since + make_interval(
                    secs => CAST(:review_after_seconds AS double precision) + {LAST_INQUIRY_SECONDS + OUTAGE_SECONDS}) END
        """,
    )


RULES = tuple(rule for entity in EXPIRES_AT for rule in (_is_due(entity), _within_limit(entity)))
