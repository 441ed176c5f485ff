"""I5: the version of a row is the number of its history rows, so that every change is recorded."""

from workflows.invariants.rule import Rule, one


def _rule(entity: str) -> Rule:
    return Rule(
        invariant="I5",
        name=f"counted versions of {one(entity)}",
        sentence=f"{one(entity).capitalize()}'s version is the number of its history rows.",
        checked=f"SELECT count(*) FROM {entity}s",
        violations=f"""
            SELECT coalesce(e.id, h.id) AS id, CASE WHEN e.id IS NULL THEN 'has a history and no row'
                ELSE format('version %s with %s history rows', e.version, coalesce(h.rows, 0)) END AS problem
            FROM {entity}s e
            FULL JOIN (SELECT {entity}_id AS id, count(*) AS rows FROM {entity}_history GROUP BY {entity}_id) h ON h.id = e.id
            WHERE e.version IS DISTINCT FROM h.rows
        """,
    )


RULES = tuple(_rule(entity) for entity in ("payment", "refund", "order", "bill", "settlement", "device"))
