"""I2 and I3, our own data: the attempts, which are written before each call, prove a final status.

An attempt without an answer, or with an unknown outcome, may have moved money: a payment or refund with such an attempt
cannot be failed or cancelled, whatever came later.
"""

from workflows.invariants.rule import Rule

MOVED = {"payment": "status IN ('completed', 'refunded')", "refund": "status = 'completed'"}
DEAD = {"payment": "status IN ('failed', 'cancelled')", "refund": "status = 'failed'"}


def _success(entity: str) -> Rule:
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


def _failure(entity: str) -> Rule:
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


RULES = tuple(rule for entity in MOVED for rule in (_success(entity), _failure(entity)))
