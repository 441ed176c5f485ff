"""I8 for archived months: what was carried over agrees with what stayed, row by row and in total.

| rule | what it compares |
|---|---|
| carried balances | carried journals with the lines and cash counts of each settlement: amounts and numbers |
| carried sums | the carried amounts of each settlement and kind of journal sum to zero, on accounts of their merchant |
| carried refunds | carried refunds with the refunds that stayed, per store, currency and provider |
| carried rows | the checksum of all carried rows of a month with the one that was stored when it was archived |
| archived rows | no live row has an id of an archived month |

Without its row in ``archived_months``, a month's lines and refunds have no payments, which "settled as marked" and "refunds of
their payments" report.
"""

from workflows.invariants.rule import Rule

_LINES = """
    SELECT m.month, l.settlement_id, l.entity_id, l.kind, l.amount, l.fee
    FROM settlement_lines l JOIN archived_months m ON substr(l.entity_id, 5) >= m.low AND substr(l.entity_id, 5) < m.high
"""
_BOOKED = f"""
    SELECT month, settlement_id, CASE kind WHEN 'payment' THEN 'completion' ELSE kind END AS kind, sum(amount) AS amount,
           count(*) AS journals
    FROM ({_LINES}) AS lines WHERE amount <> 0 GROUP BY 1, 2, 3
    UNION ALL
    SELECT month, settlement_id, 'fee', -sum(fee), count(*) FROM ({_LINES}) AS lines WHERE fee <> 0 GROUP BY 1, 2
    UNION ALL
    SELECT m.month, s.id, 'cash_difference', s.cash_actual - s.cash_expected, NULL
    FROM settlements s JOIN archived_months m ON substr(s.id, 5) >= m.low AND substr(s.id, 5) < m.high
    WHERE s.cash_actual <> s.cash_expected
"""
"""What the journals of archived months have to have moved on the accounts that hold money; a recount posts several of them."""
_CARRIED = """
    SELECT c.month, c.settlement_id, c.kind, sum(c.amount) AS amount, sum(c.entries) AS journals
    FROM carried_balances c JOIN ledger_accounts a ON a.id = c.account_id
    WHERE a.kind IN ('cash', 'receivable') AND c.kind <> 'payout' GROUP BY 1, 2, 3
"""

RULES = (
    Rule(
        invariant="I8",
        name="carried balances",
        sentence="What was carried of a month is what its settlement lines say.",
        checked="SELECT count(*) FROM carried_balances",
        violations=f"""
            SELECT settlement_id AS id, format('%s of %s: carried %s of %s journals, its lines say %s of %s', kind, month,
                coalesce(c.amount, 0), coalesce(c.journals, 0), coalesce(b.amount, 0), coalesce(b.journals, 0)) AS problem
            FROM ({_CARRIED}) c FULL JOIN ({_BOOKED}) b USING (month, settlement_id, kind)
            WHERE coalesce(c.amount, 0) <> coalesce(b.amount, 0)
               OR coalesce(c.journals, 0) <> coalesce(b.journals, c.journals, 0)
        """,
    ),
    Rule(
        invariant="I8",
        name="carried sums",
        sentence="Carried balances sum to zero, on accounts of their own merchant.",
        checked="SELECT count(*) FROM carried_balances",
        violations="""
            SELECT CASE c.settlement_id WHEN '' THEN c.store_id ELSE c.settlement_id END AS id,
                   format('%s of %s: %s carried rows, %s on accounts of its own, sum %s', c.kind, c.month, count(*),
                       count(a.id), sum(c.amount)) AS problem
            FROM carried_balances c
            LEFT JOIN ledger_accounts a ON a.id = c.account_id AND a.merchant_id = c.merchant_id
            GROUP BY c.month, c.store_id, c.settlement_id, c.kind, coalesce(a.currency, '')
            HAVING sum(c.amount) <> 0 OR count(a.id) < count(*)
        """,
    ),
    Rule(
        invariant="I4",
        name="carried refunds",
        sentence="Refunds of archived payments add up to what was carried of them.",
        checked="SELECT count(*) FROM carried_refunds",
        violations="""
            SELECT coalesce(c.store_id, r.store_id) AS id, format('%s %s of %s: carried %s in %s refunds, they say %s in %s',
                coalesce(c.provider, r.provider), coalesce(c.currency, r.currency), coalesce(c.month, r.month),
                coalesce(c.refunded, 0), coalesce(c.refunds, 0), coalesce(r.refunded, 0), coalesce(r.refunds, 0)) AS problem
            FROM carried_refunds c FULL JOIN (
                SELECT m.month, f.merchant_id, f.store_id, f.currency, f.provider, count(*) AS refunds,
                       sum(f.amount) AS refunded
                FROM refunds f JOIN archived_months m ON substr(f.payment_id, 5) >= m.low AND substr(f.payment_id, 5) < m.high
                WHERE f.status <> 'failed' GROUP BY 1, 2, 3, 4, 5
            ) r USING (month, merchant_id, store_id, currency, provider)
            WHERE (coalesce(c.refunds, 0), coalesce(c.refunded, 0)) <> (coalesce(r.refunds, 0), coalesce(r.refunded, 0))
        """,
    ),
    Rule(
        invariant="I8",
        name="carried rows",
        sentence="No carried row was changed, added or deleted since its month was archived.",
        checked="SELECT count(*) FROM archived_months",
        violations="""
            SELECT coalesce(m.month, c.month) AS id, CASE WHEN m.month IS NULL THEN 'has carried rows and was not archived'
                ELSE format('the checksum of its carried rows is %s and was %s', carried_checksum(m.month), m.checksum) END
                AS problem
            FROM archived_months m FULL JOIN (
                SELECT month FROM carried_balances
                UNION SELECT month FROM carried_bills UNION SELECT month FROM carried_refunds
            ) c USING (month)
            WHERE m.month IS NULL OR m.checksum <> carried_checksum(m.month)
        """,
    ),
    Rule(
        invariant="I8",
        name="archived rows",
        sentence="No live row belongs to an archived month.",
        checked="SELECT count(*) FROM archived_months",
        violations="""
            SELECT p.id, format('is live, and %s is archived', m.month) AS problem
            FROM archived_months m JOIN payments p ON p.id >= 'pay_' || m.low AND p.id < 'pay_' || m.high
            UNION ALL
            SELECT j.id, format('is live, and %s is archived', m.month)
            FROM archived_months m
            JOIN ledger_journals j ON substr(j.source_id, 5) >= m.low AND substr(j.source_id, 5) < m.high
        """,
    ),
)
