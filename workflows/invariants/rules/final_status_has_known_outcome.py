"""I3, our own data: a row with a final status has a known outcome, one final date, no lease and no due time."""

from workflows.invariants.rule import Rule

STATUSES_DATED: dict[str, dict[str, tuple[str, ...]]] = {
    "payment": {"completed_at": ("completed", "refunded"), "failed_at": ("failed",), "cancelled_at": ("cancelled",)},
    "refund": {"completed_at": ("completed",), "failed_at": ("failed",)},
}
"""Entity → the column of each final date → the statuses that have it."""


def _rule(entity: str) -> Rule:
    final = "status NOT IN ('pending', 'processing')"
    faults = {
        "NOT outcome_known": "status || ' with an unknown outcome'",
        "lease_until IS NOT NULL": "status || ' and still leased'",
        "due_at IS NOT NULL": "status || ' and still due'",
    }
    for column, statuses in STATUSES_DATED[entity].items():
        listed = ", ".join(f"'{status}'" for status in statuses)
        description = f"format('%s, {column} is %s', status, coalesce({column}::text, 'missing'))"
        faults[f"({column} IS NOT NULL) <> (status IN ({listed}))"] = description
    problems = ", ".join(f"CASE WHEN {fault} THEN {description} END" for fault, description in faults.items())
    return Rule(
        invariant="I3",
        name=f"known outcomes of a {entity}",
        sentence=f"A final {entity} has a known outcome, its date, no lease, nothing due.",
        checked=f"SELECT count(*) FROM {entity}s WHERE {final}",
        violations=f"""
            SELECT id, concat_ws(', ', {problems}) AS problem FROM {entity}s WHERE {final} AND ({" OR ".join(faults)})
        """,
    )


RULES = tuple(_rule(entity) for entity in STATUSES_DATED)
