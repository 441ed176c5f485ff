"""I1 to I3, in our own data: no attempt may charge twice, and the attempts prove each final status.

| rule | what it checks |
|---|---|
| careful attempts (I1) | each attempt follows an attempt that is known to have moved no money |
| proven success (I2) | a completed payment or refund has exactly one successful attempt, its last |
| proven failure (I3) | no attempt of a failed or cancelled payment or refund moved money, or may have moved it |

A new attempt has a new key, under which the provider would charge again. It may therefore only follow an attempt that is known
to have moved no money. After any other attempt, the provider is asked for the outcome, or the request is sent again under the
same key.

An attempt is written before its call. If it has no answer, or an unknown outcome, it may have moved money, so its payment or
refund must not become failed or cancelled, whatever happened later.
"""

from workflows.invariants.rule import Rule

MOVED = {"payment": "status IN ('completed', 'refunded')", "refund": "status = 'completed'"}
DEAD = {"payment": "status IN ('failed', 'cancelled')", "refund": "status = 'failed'"}


def _careful_attempts(entity: str) -> Rule:
    return Rule(
        invariant="I1",
        name=f"careful attempts of a {entity}",
        sentence=f"Each attempt of a {entity} follows one known to have moved nothing.",
        checked=f"SELECT count(*) FROM {entity}_attempts",
        violations=f"""
            SELECT a.{entity}_id AS id, format('attempt %s was made although attempt %s is %s', a.number, a.number - 1,
                CASE WHEN e.number IS NULL THEN 'missing' ELSE coalesce(e.outcome, 'unanswered') END) AS problem
            FROM {entity}_attempts a
            LEFT JOIN {entity}_attempts e ON e.{entity}_id = a.{entity}_id AND e.number = a.number - 1
            WHERE a.number > 1 AND coalesce(e.outcome, '') NOT IN ('declined', 'unavailable')
        """,
    )


def _proven_success(entity: str) -> Rule:
    return Rule(
        invariant="I2",
        name=f"proven success of a {entity}",
        sentence=f"A completed {entity} has exactly one successful attempt, its last.",
        checked=f"SELECT count(*) FROM {entity}s",
        violations=f"""
            SELECT e.id, format('%s with %s successful attempts of %s', e.status,
                count(*) FILTER (WHERE a.outcome = 'succeeded'), count(a.number)) AS problem
            FROM {entity}s e LEFT JOIN {entity}_attempts a ON a.{entity}_id = e.id
            WHERE e.{MOVED[entity]}
            GROUP BY e.id, e.status
            HAVING count(*) FILTER (WHERE a.outcome = 'succeeded') <> 1
                OR max(a.number) FILTER (WHERE a.outcome = 'succeeded') <> max(a.number)
        """,
    )


def _proven_failure(entity: str) -> Rule:
    return Rule(
        invariant="I3",
        name=f"proven failure of a {entity}",
        sentence=f"No attempt of a failed or cancelled {entity} moved money, or may have.",
        checked=f"SELECT count(*) FROM {entity}_attempts",
        violations=f"""
            SELECT e.id, format('%s although attempt %s is %s', e.status, a.number,
                coalesce(a.outcome, 'unanswered')) AS problem
            FROM {entity}s e JOIN {entity}_attempts a ON a.{entity}_id = e.id
            WHERE e.{DEAD[entity]} AND coalesce(a.outcome, '') NOT IN ('declined', 'unavailable', 'withdrawn')
        """,
    )


RULES = tuple(
    rule for entity in MOVED for rule in (_careful_attempts(entity), _proven_success(entity), _proven_failure(entity))
)
