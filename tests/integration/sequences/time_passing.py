"""Statements that simulate the passing of time for one store: they back-date the timestamps of its unfinished rows."""

_LEASED = """UPDATE {table} SET {columns} WHERE store_id = %(store)s AND status IN ('pending', 'processing')"""
_EARLIER = ("due_at", "lease_until", "in_doubt_since", "created_at", "processing_at")


def _passes(table: str, *columns: str) -> str:
    moved = ", ".join(f"{name} = {name} - make_interval(secs => %(seconds)s)" for name in columns)
    return _LEASED.format(table=table, columns=moved)


TIME_PASSES = (
    *(f"""UPDATE {entity}_attempts a SET not_found_at = not_found_at - make_interval(secs => %(seconds)s)
          FROM {entity}s e WHERE e.id = a.{entity}_id AND e.store_id = %(store)s AND a.not_found_at IS NOT NULL"""
      for entity in ("payment", "refund")),
    _passes("payments", *_EARLIER, "expires_at"),
    _passes("refunds", *_EARLIER),
)  # fmt: skip
