"""Carry over what the live books need of an archived month, in the transaction that moves its tables.

| carried               | instead of                  | read by                                                              |
|-----------------------|-----------------------------|----------------------------------------------------------------------|
| ``carried_balances``  | journals with their entries | the balances of accounts, the rules about the ledger, the auditors   |
| ``carried_bills``     | the payments of bills       | cancelling or completing an order, the rule about bills              |
| ``carried_refunds``   | the payments of refunds     | the rule about refunds                                               |

Settlement lines, refunds, bills and orders stay, so a carried row is compared with the lines, refunds and bills that it stands
for, and a rule finds a missing, added or changed one (``workflows.invariants.rules.archive``).
"""

from decimal import Decimal

from psycopg.sql import SQL

from workflows.archive.months import Connection, Month

_BALANCES = """
    -- by settlement: an adjustment is a line of the period that ran when it was booked; a count names its settlement
    INSERT INTO carried_balances (month, account_id, merchant_id, store_id, settlement_id, kind, amount, entries)
    SELECT %(month)s, e.account_id, j.merchant_id, j.store_id, coalesce(l.settlement_id,
               CASE j.kind WHEN 'cash_difference' THEN split_part(j.source_id, ':', 1) END, ''), j.kind,
           sum(e.amount), count(*)
    FROM {entries} e JOIN {journals} j ON j.id = e.journal_id
    LEFT JOIN settlement_lines l ON l.entity_id = j.source_id
        AND l.kind = CASE left(j.source_id, 4) WHEN 'pay_' THEN 'payment' WHEN 'rfd_' THEN 'refund' ELSE 'adjustment' END
    GROUP BY 2, 3, 4, 5, 6
"""
_BILLS = """
    INSERT INTO carried_bills (month, bill_id, merchant_id, store_id, payments, retained, unrefunded, counted,
                               counted_unrefunded)
    SELECT %(month)s, bill_id, merchant_id, store_id, count(*),
           coalesce(sum(greatest(amount - refunded_amount, 0))
               FILTER (WHERE status IN ('completed', 'refunded') AND NOT off_bill), 0),
           count(*) FILTER (WHERE captured_amount > refunded_amount),
           count(*) FILTER (WHERE captured_amount > 0 AND NOT off_bill),
           count(*) FILTER (WHERE captured_amount > 0 AND NOT off_bill AND captured_amount <> refund_reserved)
    FROM {payments} WHERE bill_id IS NOT NULL GROUP BY bill_id, merchant_id, store_id
"""
_REFUNDS = """
    INSERT INTO carried_refunds (month, merchant_id, store_id, currency, provider, refunds, refunded)
    SELECT %(month)s, p.merchant_id, p.store_id, p.currency, p.provider, coalesce(sum(r.refunds), 0),
           sum(p.refunded_amount)
    FROM {payments} p LEFT JOIN (
        SELECT payment_id, count(*) AS refunds FROM refunds
        WHERE status = 'completed' AND payment_id >= 'pay_' || %(low)s AND payment_id < 'pay_' || %(high)s GROUP BY 1
    ) r ON r.payment_id = p.id
    WHERE p.refunded_amount > 0 GROUP BY 2, 3, 4, 5
"""
_CARRIED = ("carried_balances", "carried_bills", "carried_refunds")


def carry_over(connection: Connection, month: Month) -> Decimal:
    """Write the carried rows of ``month``, and return their checksum."""
    names = {
        "entries": month.table("ledger_entries"),
        "journals": month.table("ledger_journals"),
        "payments": month.table("payments"),
    }
    values = {"month": month.name, "low": month.low, "high": month.high}
    for statement in (_BALANCES, _BILLS, _REFUNDS):
        connection.execute(SQL(statement).format(**names), values)
    row = connection.execute("SELECT carried_checksum(%s) AS checksum", [month.name]).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM
    checksum: Decimal = row["checksum"]
    return checksum


def take_back(connection: Connection, month: Month) -> None:
    """Delete the carried rows of ``month``, in the transaction that attaches its tables again."""
    for table in _CARRIED:
        connection.execute(SQL("DELETE FROM {} WHERE month = %s").format(SQL(table)), [month.name])
