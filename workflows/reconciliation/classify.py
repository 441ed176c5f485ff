"""Classify every pair, and every line without a counterpart, into one of eleven categories.

Each line of ours and each line of the provider gets exactly one category, by the first row of this table that applies.
"Theirs alone" and "ours alone" are lines without a counterpart.

| what was found                                                                          | category               |
|------------------------------------------------------------------------------------------|------------------------|
| a pair, but their line moved nothing (not settled, or reversed on the same statement)     | ``status_mismatch``     |
| a pair in two currencies                                                                  | ``currency_mismatch``   |
| a pair of two amounts                                                                     | ``amount_mismatch``     |
| a pair of two fees (not compared if the statement has no fee column)                      | ``fee_mismatch``        |
| a pair on two days: not the local day of ours, not its business day, and over an hour off | ``date_mismatch``       |
| any other pair                                                                            | ``matched``             |
| theirs alone, and it moved nothing, as in our books                                       | ``matched``             |
| theirs alone, under a reference that occurred before on this statement                    | ``duplicate_provider``  |
| theirs alone, of an attempt of ours that succeeded but is in no line of this settlement   | ``date_mismatch``       |
| theirs alone, of an attempt of ours that did not succeed or has no outcome yet            | ``status_mismatch``     |
| theirs alone, of nothing that we know                                                     | ``missing_internally``  |
| ours alone, under a provider's reference that another line of ours has                    | ``duplicate_internal``  |
| ours alone, and the provider may still report it (its service level)                      | ``expected``            |
| any other ours alone                                                                      | ``missing_at_provider`` |

A pair that differs in several ways gets the first of these categories; its differences in amount and fee are counted in full.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Category(StrEnum):
    """The result of comparing a line."""

    MATCHED = "matched"
    EXPECTED = "expected"
    MISSING_AT_PROVIDER = "missing_at_provider"
    MISSING_INTERNALLY = "missing_internally"
    AMOUNT_MISMATCH = "amount_mismatch"
    CURRENCY_MISMATCH = "currency_mismatch"
    STATUS_MISMATCH = "status_mismatch"
    FEE_MISMATCH = "fee_mismatch"
    DUPLICATE_INTERNAL = "duplicate_internal"
    DUPLICATE_PROVIDER = "duplicate_provider"
    DATE_MISMATCH = "date_mismatch"


NO_BREAK = frozenset({Category.MATCHED, Category.EXPECTED})
"""Categories that need no action; all others are breaks."""


_PAIRS = text("""
    -- classify pairs; a line of theirs in another currency counts as 0 in the settlement's currency
    INSERT INTO classified
    SELECT CASE
               WHEN NOT t.has_moved THEN 'status_mismatch'
               WHEN t.currency <> o.currency THEN 'currency_mismatch'
               WHEN t.amount <> o.amount THEN 'amount_mismatch'
               WHEN t.fee <> o.fee THEN 'fee_mismatch'
               WHEN d.day NOT IN ((o.occurred_at AT TIME ZONE CAST(:time_zone AS text))::date, o.business_date)
                    AND (o.occurred_at < d.earliest - d.tolerance OR o.occurred_at >= d.latest + d.tolerance)
                   THEN 'date_mismatch'
               ELSE 'matched'
           END,
           o.id, t.id, o.amount, CASE WHEN t.has_moved AND t.currency = :currency THEN t.amount ELSE 0 END,
           o.fee, CASE WHEN t.has_moved AND t.currency = :currency THEN coalesce(t.fee, o.fee) ELSE 0 END
    FROM pairs p JOIN ours o ON o.id = p.our_id JOIN theirs t ON t.id = p.their_id
    CROSS JOIN LATERAL (
        SELECT coalesce(t.occurred_on, (t.occurred_at AT TIME ZONE CAST(:time_zone AS text))::date) AS day,
               coalesce(t.occurred_at, t.occurred_on::timestamp AT TIME ZONE CAST(:time_zone AS text)) AS earliest,
               coalesce(t.occurred_at, (t.occurred_on + 1)::timestamp AT TIME ZONE CAST(:time_zone AS text)) AS latest,
               make_interval(secs => 60 * CAST(:date_tolerance AS double precision)) AS tolerance
    ) d
""")
_THEIRS_ALONE = text("""
    -- classify theirs alone: a reference occurred before if a pair has it, or an earlier line without a counterpart
    WITH paired AS (
        SELECT t.provider, t.kind, t.our_reference, t.provider_reference
        FROM pairs p JOIN theirs t ON t.id = p.their_id
    ), paired_ours AS (
        SELECT DISTINCT provider, kind, our_reference FROM paired
        WHERE our_reference IN (SELECT our_reference FROM their_rest)
    ), paired_theirs AS (
        SELECT DISTINCT provider, kind, provider_reference FROM paired
        WHERE provider_reference IN (SELECT provider_reference FROM their_rest WHERE known IS NULL)
    ), alone AS (
        SELECT t.*,
               row_number() OVER (PARTITION BY t.provider, t.kind, t.our_reference, t.has_moved ORDER BY t.id) AS our_n,
               row_number() OVER (PARTITION BY t.provider, t.kind, t.provider_reference, t.has_moved, t.known IS NULL
                                  ORDER BY t.id) AS their_n
        FROM their_rest t
    )
    INSERT INTO classified
    SELECT CASE
               WHEN NOT t.has_moved THEN 'matched'
               WHEN t.kind = 'reversal' AND t.known IS NOT NULL THEN 'status_mismatch'
               WHEN t.our_reference IS NOT NULL AND (t.our_n > 1 OR EXISTS (
                   SELECT FROM paired_ours p
                   WHERE (p.provider, p.kind, p.our_reference) = (t.provider, t.kind, t.our_reference)))
                   THEN 'duplicate_provider'
               WHEN t.known IS NULL AND t.provider_reference IS NOT NULL AND (t.their_n > 1 OR EXISTS (
                   SELECT FROM paired_theirs p
                   WHERE (p.provider, p.kind, p.provider_reference) = (t.provider, t.kind, t.provider_reference)))
                   THEN 'duplicate_provider'
               WHEN coalesce(t.known, t.elsewhere) = 'moved' THEN 'date_mismatch'
               WHEN coalesce(t.known, t.elsewhere) = 'other' THEN 'status_mismatch'
               ELSE 'missing_internally'
           END,
           NULL, t.id, 0, CASE WHEN t.has_moved AND t.currency = :currency THEN t.amount ELSE 0 END,
           0, CASE WHEN t.has_moved AND t.currency = :currency THEN coalesce(t.fee, 0) ELSE 0 END
    FROM alone t
""")
_OURS_ALONE = text("""
    -- classify ours alone: a duplicate has the provider's reference of another line of ours
    WITH paired AS (
        SELECT DISTINCT o.provider, o.kind, o.provider_reference FROM pairs p JOIN ours o ON o.id = p.our_id
        WHERE o.provider_reference IN (SELECT provider_reference FROM our_rest)
    ), alone AS (
        SELECT o.*, row_number() OVER (PARTITION BY provider, kind, provider_reference ORDER BY id) AS n FROM our_rest o
    )
    INSERT INTO classified
    SELECT CASE
               WHEN o.provider_reference IS NOT NULL AND (o.n > 1 OR EXISTS (
                   SELECT FROM paired p
                   WHERE (p.provider, p.kind, p.provider_reference) = (o.provider, o.kind, o.provider_reference)))
                   THEN 'duplicate_internal'
               WHEN o.occurred_at + make_interval(secs => 3600 * coalesce(
                   CAST(CAST(:sla_hours AS jsonb) ->> o.provider AS double precision), 0)) > now() THEN 'expected'
               ELSE 'missing_at_provider'
           END,
           o.id, NULL, o.amount, 0, o.fee, 0
    FROM alone o
""")


async def classify_lines(connection: AsyncConnection, parameters: dict[str, Any]) -> None:
    """Fill the table ``classified`` from the pairs and from the remaining lines of both sides."""
    for statement in (_PAIRS, _THEIRS_ALONE, _OURS_ALONE):
        await connection.execute(statement, parameters)
    await connection.execute(text("ANALYZE classified"))
