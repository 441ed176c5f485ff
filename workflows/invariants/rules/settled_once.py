"""I6: every final payment and refund is in exactly one settlement of its store and currency, and no close omits one.

The primary key of the lines ensures half of this. These rules check that payments and refunds name the settlement that has
their line, that the periods of a store and currency are one chain, and that nothing waits longer than the next close.
"""

from workflows.invariants.rule import Rule

_FINAL = """
    SELECT 'payment' AS kind, id, settlement_id, merchant_id, store_id, currency, captured_amount AS amount, fee, completed_at
    FROM payments WHERE completed_at IS NOT NULL
    UNION ALL
    SELECT 'refund', id, settlement_id, merchant_id, store_id, currency, -amount, fee, completed_at
    FROM refunds WHERE completed_at IS NOT NULL
"""

RULES = (
    Rule(
        invariant="I6",
        name="settled as marked",
        sentence="A payment or refund names the settlement that has its one line.",
        checked="SELECT count(*) FROM settlement_lines WHERE kind <> 'adjustment'",
        violations=f"""
            SELECT coalesce(f.id, l.entity_id) AS id, CASE
                WHEN f.id IS NULL THEN format('is a line of %s and no final %s', l.settlement_id, l.kind)
                WHEN l.entity_id IS NULL THEN format('names settlement %s, which has no line of it', f.settlement_id)
                ELSE format('%s %s with fee %s in %s, its line says %s %s with fee %s in %s', f.amount, f.currency, f.fee,
                    coalesce(f.settlement_id, 'none'), l.amount, l.currency, l.fee, l.settlement_id) END AS problem
            FROM (SELECT * FROM settlement_lines WHERE kind <> 'adjustment') l
            FULL JOIN ({_FINAL}) f ON f.id = l.entity_id AND f.kind = l.kind
            WHERE (f.settlement_id, f.merchant_id, f.store_id, f.currency, f.amount, f.fee)
                IS DISTINCT FROM (l.settlement_id, l.merchant_id, l.store_id, l.currency, l.amount, l.fee)
              AND (l.entity_id IS NOT NULL OR f.settlement_id IS NOT NULL)
        """,
    ),
    Rule(
        invariant="I6",
        name="lines in their own period",
        sentence="A line is in a settlement of its store and currency that ended after it.",
        checked="SELECT count(*) FROM settlement_lines",
        violations="""
            SELECT l.entity_id AS id, format('%s of %s in %s at %s is a line of %s, which is %s of %s in %s until %s', l.kind,
                l.store_id, l.currency, l.occurred_at, l.settlement_id, coalesce(s.status, 'nothing'), s.store_id, s.currency,
                s.end_at) AS problem
            FROM settlement_lines l LEFT JOIN settlements s ON s.id = l.settlement_id
            WHERE (s.merchant_id, s.store_id, s.currency) IS DISTINCT FROM (l.merchant_id, l.store_id, l.currency)
               OR (l.kind <> 'adjustment' AND (s.status = 'open' OR l.occurred_at >= s.end_at))
               OR l.is_late AND l.business_date > s.business_date
        """,
    ),
    Rule(
        invariant="I6",
        name="nothing left behind",
        sentence="A close takes everything that an earlier close missed.",
        checked=f"SELECT count(*) FROM ({_FINAL}) AS final",
        violations=f"""
            SELECT f.id, format('completed at %s and in no settlement, although %s is %s', f.completed_at, s.id, s.status)
                AS problem
            FROM ({_FINAL}) f JOIN settlements s ON s.store_id = f.store_id AND s.currency = f.currency
            WHERE f.settlement_id IS NULL AND s.status <> 'open' AND s.start_at > f.completed_at
        """,
    ),
    Rule(
        invariant="I6",
        name="chain of periods",
        sentence="A store's periods have no gap and no overlap, and only the last is open.",
        checked="SELECT count(*) FROM settlements",
        violations="""
            SELECT id, format('%s from %s to %s comes after one that ended at %s, and the next begins at %s', status, start_at,
                end_at, before, after) AS problem
            FROM (SELECT *, lag(end_at) OVER w AS before, lead(start_at) OVER w AS after FROM settlements
                  WINDOW w AS (PARTITION BY store_id, currency ORDER BY start_at, end_at)) AS chained
            WHERE before <> start_at OR end_at <= start_at OR (after IS NULL) <> (status = 'open')
        """,
    ),
)
