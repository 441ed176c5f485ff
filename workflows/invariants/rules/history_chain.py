"""I14: the history is a chain without gaps: each version begins with the status at which the previous one ended.

The last version is that of the row. Versions define the order. Times are not compared, because the database's clock may be
set back between two versions.
"""

from workflows.invariants.rule import Rule, one


def _rule(entity: str) -> Rule:
    return Rule(
        invariant="I14",
        name=f"history of {one(entity)}",
        sentence=f"{one(entity).capitalize()}'s history is in order, has no gap, and ends with its status.",
        checked=f"SELECT count(*) FROM {entity}_history",
        violations=f"""
            SELECT id, problem FROM (
                SELECT h.{entity}_id AS id, concat_ws(', ',
                    CASE WHEN h.version <> coalesce(h.earlier_version, 0) + 1
                        THEN format('version %s comes after %s', h.version, coalesce(h.earlier_version, 0)) END,
                    CASE WHEN h.from_status IS DISTINCT FROM h.earlier_status
                        THEN format('version %s begins as %s after %s', h.version, h.from_status, h.earlier_status) END,
                    CASE WHEN h.is_last AND (e.status, e.version) IS DISTINCT FROM (h.to_status, h.version)
                        THEN format('ends as %s in version %s, the row says %s in version %s', h.to_status, h.version,
                                    e.status, e.version) END) AS problem
                FROM (
                    SELECT *, lag(version) OVER w AS earlier_version, lag(to_status) OVER w AS earlier_status,
                           lead(version) OVER w IS NULL AS is_last
                    FROM {entity}_history WINDOW w AS (PARTITION BY {entity}_id ORDER BY version)
                ) h LEFT JOIN {entity}s e ON e.id = h.{entity}_id
            ) AS links WHERE problem <> ''
        """,
    )


RULES = tuple(_rule(entity) for entity in ("payment", "refund", "order", "bill", "settlement", "device"))
