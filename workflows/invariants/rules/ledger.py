"""I8: every journal sums to zero, every movement of money has exactly one journal, and settlements agree with the ledger.

Journals of archived months are represented by carried balances, which the rules of ``archive`` check.
"""

from workflows.invariants.rule import Rule

_FINAL = """
    SELECT id, 'completion' AS kind, captured_amount AS amount, fee, provider, merchant_id, currency
    FROM payments WHERE completed_at IS NOT NULL
    UNION ALL
    SELECT id, 'refund', -amount, fee, provider, merchant_id, currency FROM refunds r WHERE completed_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM archived_months m WHERE substr(r.id, 5) >= m.low AND substr(r.id, 5) < m.high)
"""
_HELD = """
    SELECT j.source_id, j.kind, sum(e.amount) AS amount
    FROM ledger_journals j JOIN ledger_entries e ON e.journal_id = j.id JOIN ledger_accounts a ON a.id = e.account_id
    WHERE a.kind IN ('cash', 'receivable') GROUP BY j.source_id, j.kind
"""
"""The amount that each journal moved on the accounts that hold money."""
_CARRIED = """
    SELECT c.settlement_id, sum(c.amount) AS amount FROM carried_balances c JOIN ledger_accounts a ON a.id = c.account_id
    WHERE a.kind IN ('cash', 'receivable') AND c.kind <> 'cash_difference' GROUP BY 1
"""
"""What the lines of each settlement moved on these accounts in archived months. A count of cash is not a line."""

RULES = (
    Rule(
        invariant="I8",
        name="balanced journals",
        sentence="A journal has two entries or more, of its merchant and currency, sum zero.",
        checked="SELECT count(*) FROM ledger_journals",
        violations="""
            SELECT coalesce(j.id, e.journal_id) AS id, format('%s of %s: %s entries, %s on accounts of its own, sum %s',
                coalesce(j.kind, 'no journal'), j.source_id, count(e.number), count(a.id), coalesce(sum(e.amount), 0))
                AS problem
            FROM ledger_journals j FULL JOIN ledger_entries e ON e.journal_id = j.id
            LEFT JOIN ledger_accounts a ON a.id = e.account_id AND a.merchant_id = j.merchant_id AND a.currency = j.currency
            GROUP BY coalesce(j.id, e.journal_id), j.id, j.kind, j.source_id
            HAVING j.id IS NULL OR count(a.id) < 2 OR count(a.id) < count(*) OR sum(e.amount) <> 0
        """,
    ),
    Rule(
        invariant="I8",
        name="one journal for each movement",
        sentence="A completed payment or refund has its journal, and one for its fee.",
        checked=f"SELECT count(*) FROM ({_FINAL}) AS final",
        violations=f"""
            SELECT coalesce(f.id, h.source_id) AS id, format('%s of %s with fee %s; the ledger says %s and %s',
                coalesce(f.kind, 'nothing'), coalesce(f.amount, 0), coalesce(f.fee, 0), coalesce(h.moved, 0),
                coalesce(h.fee, 0)) AS problem
            FROM ({_FINAL}) f
            FULL JOIN (SELECT source_id, sum(amount) FILTER (WHERE kind <> 'fee') AS moved,
                              -sum(amount) FILTER (WHERE kind = 'fee') AS fee, min(kind) FILTER (WHERE kind <> 'fee') AS kind
                       FROM ({_HELD}) held WHERE kind IN ('completion', 'refund', 'fee') GROUP BY source_id) h
                ON h.source_id = f.id
            WHERE (f.kind, f.amount, f.fee) IS DISTINCT FROM (h.kind, h.moved, coalesce(h.fee, 0))
        """,
    ),
    Rule(
        invariant="I8",
        name="settlements as in the ledger",
        sentence="A closed settlement's net is the sum of its lines in the ledger.",
        checked="SELECT count(*) FROM settlements WHERE status <> 'open'",
        violations=f"""
            SELECT s.id, format('net %s, by the ledger %s', s.net_amount, coalesce(sum(h.amount), 0) + coalesce(c.amount, 0))
                AS problem
            FROM settlements s LEFT JOIN settlement_lines l ON l.settlement_id = s.id
            LEFT JOIN ({_HELD}) h ON h.source_id = l.entity_id
                AND h.kind IN ('fee', CASE l.kind WHEN 'payment' THEN 'completion' ELSE l.kind END)
            LEFT JOIN ({_CARRIED}) c ON c.settlement_id = s.id
            WHERE s.status <> 'open' GROUP BY s.id, s.net_amount, c.amount
            HAVING s.net_amount <> coalesce(sum(h.amount), 0) + coalesce(c.amount, 0)
        """,
    ),
)
