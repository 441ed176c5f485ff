"""Match a settlement's lines with the provider's, in a dozen set-based statements.

| statement       | what                                                                                              |
|-----------------|---------------------------------------------------------------------------------------------------|
| ours, theirs    | the lines to compare, numbered by their content, so that the order of a file does not matter       |
| undo            | a charge and its reversal on one statement: both count as not moved                               |
| pass 1 to 4     | pairs: by our reference, then by the provider's; in both cases equal amounts first                 |
| known           | remaining lines that quote attempts of ours, and how those ended (``find_in_our_books``)           |
| classify        | one of the eleven categories for each line (``classify``)                                         |

Within a key, our n-th line is paired with their n-th. The steps use temporary tables instead of one long statement, because
the planner then knows the number of rows and uses hash joins instead of loops for a million lines.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.reconciliation.classify import classify_lines
from workflows.reconciliation.find_in_our_books import mark_known_attempts, mark_other_periods
from workflows.reconciliation.sign_off import IS_COMPARED
from workflows.settlements.models import LockedSettlement
from workflows.time_zones import sql_zone


@dataclass(frozen=True, slots=True)
class Comparison:
    """The input of a comparison.

    ``stated`` are the providers of the statements, ``providers`` those whose lines are compared, and ``silent`` those that by
    policy send no statements for the store. ``sla_hours`` are the hours within which a provider may still report a payment.
    """

    settlement: LockedSettlement
    statement_ids: list[str]
    stated: list[str]
    providers: list[str]
    silent: list[str]
    is_accepted: bool
    sla_hours: dict[str, float]
    date_tolerance_minutes: float

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that the statements of a run share."""
        return {
            "id": self.settlement["id"],
            "store_id": self.settlement["store_id"],
            "currency": self.settlement["currency"],
            "time_zone": sql_zone(self.settlement["time_zone"], near=self.settlement["start_at"]),
            "statements": self.statement_ids,
            "providers": self.providers,
            "stated": self.stated,
            "silent": self.silent,
            "is_accepted": self.is_accepted,
            "sla_hours": orjson.dumps(self.sla_hours).decode(),
            "date_tolerance": self.date_tolerance_minutes,
        }


_TABLES = """
    CREATE TEMPORARY TABLE ours (
        id bigint GENERATED ALWAYS AS IDENTITY, kind text, provider text, entity_id text, our_reference text,
        provider_reference text, amount bigint, currency text, fee bigint, occurred_at timestamptz, business_date date
    ) ON COMMIT DROP;
    CREATE TEMPORARY TABLE theirs (
        id bigint GENERATED ALWAYS AS IDENTITY, kind text, provider text, statement_id text, line_number integer,
        our_reference text, provider_reference text, amount bigint, currency text, fee bigint, occurred_at timestamptz,
        occurred_on date, has_moved boolean, waits_for text
    ) ON COMMIT DROP;
    CREATE TEMPORARY TABLE pairs (our_id bigint, their_id bigint) ON COMMIT DROP;
    CREATE TEMPORARY TABLE classified (
        category text, our_id bigint, their_id bigint, our_amount bigint, their_amount bigint, our_fee bigint,
        their_fee bigint
    ) ON COMMIT DROP
"""
_OURS = text(f"""
    -- ours: without adjustments (our own corrections) and cash (counted in the drawer), which no provider reports. If a
    -- person accepted that (``sign_off``), lines without a statement are left out as well.
    INSERT INTO ours (kind, provider, entity_id, our_reference, provider_reference, amount, currency, fee, occurred_at,
                      business_date)
    SELECT kind, provider, entity_id, our_reference, provider_reference, amount, currency, fee, occurred_at, business_date
    FROM settlement_lines
    WHERE settlement_id = :id AND store_id = :store_id AND kind <> 'adjustment' AND {IS_COMPARED}
    ORDER BY entity_id, kind
""")
_THEIRS = text("""
    INSERT INTO theirs (kind, provider, statement_id, line_number, our_reference, provider_reference, amount, currency,
                        fee, occurred_at, occurred_on, has_moved)
    SELECT l.kind, s.provider, l.statement_id, l.line_number, l.our_reference, l.provider_reference, l.amount, l.currency,
           l.fee, l.occurred_at, l.occurred_on, l.is_settled
    FROM statements s JOIN statement_lines l ON l.statement_id = s.id
    WHERE s.id = ANY(:statements)
    ORDER BY l.our_reference, l.provider_reference, s.provider, l.kind, l.is_settled DESC, l.amount, l.currency, l.fee,
             l.occurred_at, l.occurred_on, l.line_number
""")
_UNDO = text("""
    -- undo: the n-th reversal reverses the n-th charge of the same amount under the same reference
    WITH reversals AS (
        SELECT id, provider, coalesce(our_reference, provider_reference) AS reference, currency, -amount AS amount,
               row_number() OVER (PARTITION BY provider, coalesce(our_reference, provider_reference), currency, amount
                                  ORDER BY id) AS n
        FROM theirs WHERE kind = 'reversal' AND has_moved
    ), charges AS (
        SELECT id, provider, coalesce(our_reference, provider_reference) AS reference, currency, amount,
               row_number() OVER (PARTITION BY provider, coalesce(our_reference, provider_reference), currency, amount
                                  ORDER BY id DESC) AS n
        FROM theirs WHERE kind = 'payment' AND has_moved
             AND coalesce(our_reference, provider_reference) IN (SELECT reference FROM reversals)
    ), undone AS (
        SELECT r.id AS reversal_id, c.id AS charge_id
        FROM reversals r JOIN charges c USING (provider, reference, currency, amount, n)
    )
    UPDATE theirs SET has_moved = false FROM undone WHERE theirs.id IN (reversal_id, charge_id)
""")

_PAIR_UP = """
    -- pair up: within a key, pair our n-th line with their n-th
    WITH o AS (
        SELECT id, {keys}, row_number() OVER (PARTITION BY {keys} ORDER BY id) AS n
        FROM (SELECT *, amount AS moved FROM {ours}) rows WHERE {reference} IS NOT NULL
    ), t AS (
        SELECT id, {keys}, row_number() OVER (PARTITION BY {keys} ORDER BY has_moved DESC, id) AS n
        FROM (SELECT *, CASE WHEN has_moved THEN amount END AS moved FROM {theirs}) rows
        WHERE {reference} IS NOT NULL AND kind <> 'reversal' AND {condition}
    )
    INSERT INTO pairs SELECT o.id, t.id FROM o JOIN t USING ({keys}, n)
"""
_OUR_REFERENCE, _THEIR_REFERENCE = "our_reference", "provider_reference"
_AGREEING = "provider, kind, {reference}, currency, moved"
_ANY = "provider, kind, {reference}"


def _match_step(reference: str, keys: str, *, ours: str, theirs: str, condition: str = "true") -> TextClause:
    """Return the statement that pairs lines of the tables ``ours`` and ``theirs`` by ``keys``."""
    keys = keys.format(reference=reference)
    return text(_PAIR_UP.format(reference=reference, keys=keys, ours=ours, theirs=theirs, condition=condition))


_FIRST_PASS = _match_step(_OUR_REFERENCE, _AGREEING, ours="ours", theirs="theirs")
_REST = """
    CREATE TEMPORARY TABLE our_rest ON COMMIT DROP AS
        SELECT * FROM ours o WHERE NOT EXISTS (SELECT FROM pairs p WHERE p.our_id = o.id);
    CREATE TEMPORARY TABLE their_rest ON COMMIT DROP AS
        SELECT *, CAST(NULL AS text) AS known, CAST(NULL AS text) AS elsewhere FROM theirs t
        WHERE NOT EXISTS (SELECT FROM pairs p WHERE p.their_id = t.id)
"""
_SECOND_PASS = _match_step(_OUR_REFERENCE, _ANY, ours="our_rest", theirs="their_rest")
# Lines that quote an attempt of ours are left out, because our reference takes precedence over the provider's.
_THIRD_PASS = _match_step(_THEIR_REFERENCE, _AGREEING, ours="our_rest", theirs="their_rest", condition="known IS NULL")
_FOURTH_PASS = _match_step(_THEIR_REFERENCE, _ANY, ours="our_rest", theirs="their_rest", condition="known IS NULL")
_REMOVE_PAIRED = (
    text("DELETE FROM our_rest o USING pairs p WHERE p.our_id = o.id"),
    text("DELETE FROM their_rest t USING pairs p WHERE p.their_id = t.id"),
)


async def match_lines(connection: AsyncConnection, comparison: Comparison) -> None:
    """Fill the temporary tables ``ours``, ``theirs`` and ``classified``: each line with its category."""
    parameters = comparison.parameters()
    await _load_lines(connection, parameters)
    await _pair_by_our_reference(connection)
    await mark_known_attempts(connection, parameters)
    await _pair_by_their_reference(connection)
    await mark_other_periods(connection, parameters)
    await classify_lines(connection, parameters)


async def _load_lines(connection: AsyncConnection, parameters: dict[str, Any]) -> None:
    await _run(connection, _TABLES)
    await connection.execute(_OURS, parameters)
    await connection.execute(_THEIRS, parameters)
    await _run(connection, "ANALYZE ours; ANALYZE theirs")
    await connection.execute(_UNDO)


async def _pair_by_our_reference(connection: AsyncConnection) -> None:
    """Pair lines by our reference (passes 1 and 2). Only the first pass reads all lines."""
    await connection.execute(_FIRST_PASS)
    await _run(connection, "ANALYZE pairs")
    await _run(connection, _REST)
    await _run(connection, "ANALYZE our_rest; ANALYZE their_rest")
    await _pair_rest(connection, _SECOND_PASS)


async def _pair_by_their_reference(connection: AsyncConnection) -> None:
    """Pair the remaining lines by the provider's reference (passes 3 and 4)."""
    await _pair_rest(connection, _THIRD_PASS)
    await _pair_rest(connection, _FOURTH_PASS)


async def _pair_rest(connection: AsyncConnection, step: TextClause) -> None:
    """Run a pass over the lines that have no pair yet, and remove the lines that it pairs."""
    await connection.execute(step)
    for statement in _REMOVE_PAIRED:
        await connection.execute(statement)


async def _run(connection: AsyncConnection, statements: str) -> None:
    for statement in statements.split(";"):
        await connection.execute(text(statement))
