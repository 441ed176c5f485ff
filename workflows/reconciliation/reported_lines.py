"""Told lines: what moved by given statements, by the reference of ours that each line quotes."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_LINES = text("""
    SELECT l.statement_id, l.our_reference, jsonb_agg(jsonb_build_object(
        'line_number', l.line_number, 'kind', l.kind, 'amount', l.amount, 'fee', l.fee, 'currency', l.currency,
        'provider_reference', l.provider_reference, 'occurred_at', l.occurred_at, 'occurred_on', l.occurred_on)
        ORDER BY l.line_number) AS lines
    FROM statement_lines l
    WHERE l.statement_id = ANY(:statements) AND l.our_reference = ANY(:references) AND l.is_settled
    GROUP BY l.statement_id, l.our_reference
""")

Lines = dict[tuple[str, str], list[dict[str, Any]]]


async def told_lines(connection: AsyncConnection, statement_ids: list[str], references: list[str]) -> Lines:
    """Return the moved lines by statement and reference, each list in the order of its file."""
    found = await connection.execute(_LINES, {"statements": statement_ids, "references": references})
    return {(row["statement_id"], row["our_reference"]): row["lines"] for row in found.mappings()}
