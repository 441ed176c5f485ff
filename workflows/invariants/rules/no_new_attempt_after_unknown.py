"""I1, our own data: no new attempt is made while an earlier one may have moved the money.

A new attempt has a new key, under which the provider would charge again. It may only follow an attempt that is known to have
moved nothing. After any other attempt the provider is asked for its outcome, or it is sent again under its own key.
"""

from workflows.invariants.rule import Rule


def _rule(entity: str) -> Rule:
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


RULES = tuple(_rule(entity) for entity in ("payment", "refund"))
