"""I9: no accepted payment is forgotten, and none stays open permanently.

| open payment or refund | its bound |
|---|---|
| its outcome is not in doubt | its patience, the longest outage to be survived (F6, F7: 10 min), time to catch up |
| its outcome is unknown | when a person must have been asked, one hourly question (±20 %) and that same outage later |
| ``needs_review`` | none: a person has been asked |
| a refund that needs action | none: a person at the till gives the money back; counted with its age in the metrics |

A payment's patience is its expiry. A refund has none of its own: an hour, for a provider that is away or wants time.
"""

from workflows.invariants.rule import Rule

OUTAGE_SECONDS = 900
LAST_QUESTION_SECONDS = 3_600 * 1.2
OPEN = "status IN ('pending', 'processing')"
PATIENT_UNTIL = {"payment": "expires_at", "refund": "coalesce(reported_at, created_at) + interval '1 hour'"}
ASKED_A_PERSON = {"payment": "needs_review", "refund": "(needs_review OR needs_action)"}


def _looked_after(entity: str) -> Rule:
    return Rule(
        invariant="I9",
        name=f"looked after: a {entity}",
        sentence=f"Every open {entity} will be looked at again, or a person was asked.",
        checked=f"SELECT count(*) FROM {entity}s WHERE {OPEN}",
        violations=f"""
            SELECT id, status || ' and nobody will look at it again' AS problem FROM {entity}s
            WHERE {OPEN} AND due_at IS NULL AND NOT {ASKED_A_PERSON[entity]}
        """,
    )


def _within_bound(entity: str) -> Rule:
    until = PATIENT_UNTIL[entity]
    return Rule(
        invariant="I9",
        name=f"bound of a {entity}",
        sentence=f"Every open {entity} is within its bound, or a person was asked.",
        checked=f"SELECT count(*) FROM {entity}s WHERE {OPEN}",
        violations=f"""
            SELECT id, CASE WHEN outcome_known THEN format('%s since %s, patient until %s', status, created_at, {until})
                ELSE format('in doubt since %s', coalesce(in_doubt_since::text, 'nobody knows when')) END AS problem
            FROM {entity}s
            WHERE {OPEN} AND NOT {ASKED_A_PERSON[entity]} AND CASE WHEN outcome_known
                THEN now() > {until} + make_interval(secs => {OUTAGE_SECONDS})
                ELSE in_doubt_since IS NULL OR now() > in_doubt_since + make_interval(
                    secs => CAST(:review_after_seconds AS double precision) + {LAST_QUESTION_SECONDS + OUTAGE_SECONDS}) END
        """,
    )


RULES = tuple(rule for entity in PATIENT_UNTIL for rule in (_looked_after(entity), _within_bound(entity)))
