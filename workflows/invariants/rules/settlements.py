"""I6 and I7: every final payment and refund is in exactly one settlement, and a closed settlement never changes.

| rule | what it checks |
|---|---|
| settled as marked (I6) | payments and refunds name the settlement that has their line |
| lines in their own period (I6) | a line's settlement has its store and currency, and ended after it |
| nothing left behind (I6) | no close omitted a payment or refund |
| chain of periods (I6) | the periods of a store and currency have no gap and no overlap, and only the last is open |
| figures, breakdown (I7) | the figures of a closed settlement are still the sums of its lines |
| closed once (I7) | a settlement was closed once, not before its end |

The primary key of ``settlement_lines`` ensures that no payment is in two settlements. The lines of archived payments are
compared with carried balances instead (``archive``).
"""

from workflows.invariants.rule import Rule

_FINAL = """
    SELECT 'payment' AS kind, id, settlement_id, merchant_id, store_id, currency, captured_amount AS amount, fee, completed_at
    FROM payments WHERE completed_at IS NOT NULL
    UNION ALL
    SELECT 'refund', id, settlement_id, merchant_id, store_id, currency, -amount, fee, completed_at
    FROM refunds WHERE completed_at IS NOT NULL
"""
_SUMS = """
    SELECT s.id, count(l.entity_id) AS line_count, coalesce(sum(l.amount) FILTER (WHERE l.kind = 'payment'), 0) AS gross,
           coalesce(-sum(l.amount) FILTER (WHERE l.kind = 'refund'), 0) AS refunds, coalesce(sum(l.fee), 0) AS fees,
           coalesce(sum(l.amount) FILTER (WHERE l.kind = 'adjustment'), 0) AS adjustments,
           coalesce(sum(l.amount - l.fee), 0) AS net, count(*) FILTER (WHERE l.is_late) AS late,
           coalesce(sum(l.amount) FILTER (WHERE l.method_type = 'cash'), 0) AS cash
    FROM settlements s LEFT JOIN settlement_lines l ON l.settlement_id = s.id WHERE s.status <> 'open' GROUP BY s.id
"""
_GROUPS = """
    SELECT s.id, g.key AS method, sum((part->>'count')::bigint) AS count, sum((part->>'net')::bigint) AS net
    FROM settlements s CROSS JOIN LATERAL jsonb_each(s.breakdown) AS g(key, value)
    CROSS JOIN LATERAL (SELECT g.value AS part WHERE g.key IN ('cash', 'other')
                        UNION ALL SELECT e.value FROM jsonb_each(g.value) AS e WHERE g.key NOT IN ('cash', 'other')) AS parts
    WHERE s.status <> 'open' GROUP BY s.id, g.key
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
              AND NOT (f.id IS NULL AND l.kind = 'payment' AND EXISTS (
                  SELECT FROM archived_months m WHERE substr(l.entity_id, 5) >= m.low AND substr(l.entity_id, 5) < m.high))
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
    Rule(
        invariant="I7",
        name="figures of a closed settlement",
        sentence="A closed settlement's totals are the sums of its lines.",
        checked="SELECT count(*) FROM settlements WHERE status <> 'open'",
        violations=f"""
            SELECT s.id, format('%s lines, gross %s, refunds %s, fees %s, adjustments %s, net %s, late %s, cash %s;'
                || ' by its lines %s, %s, %s, %s, %s, %s, %s, %s',
                s.line_count, s.gross_amount, s.refunds_amount, s.fees_amount,
                s.adjustments_amount, s.net_amount, s.late_count, s.cash_expected, l.line_count, l.gross, l.refunds, l.fees,
                l.adjustments, l.net, l.late, l.cash) AS problem
            FROM settlements s JOIN ({_SUMS}) l ON l.id = s.id
            WHERE (s.line_count, s.gross_amount, s.refunds_amount, s.fees_amount, s.adjustments_amount, s.net_amount,
                   s.late_count, s.cash_expected)
                IS DISTINCT FROM (l.line_count, l.gross, l.refunds, l.fees, l.adjustments, l.net, l.late, l.cash)
        """,
    ),
    Rule(
        invariant="I7",
        name="breakdown of a closed settlement",
        sentence="A closed settlement's breakdown by method agrees with its lines.",
        checked="SELECT count(*) FROM settlements WHERE status <> 'open'",
        violations=f"""
            SELECT coalesce(g.id, l.id) AS id, format('%s: %s lines and %s net, by its lines %s and %s',
                coalesce(g.method, l.method), coalesce(g.count, 0), coalesce(g.net, 0), coalesce(l.count, 0),
                coalesce(l.net, 0)) AS problem
            FROM ({_GROUPS}) g
            FULL JOIN (SELECT s.id, CASE WHEN l.method_type IN ('cash', 'qr', 'card', 'emoney') THEN l.method_type
                                    ELSE 'other' END AS method, count(*) AS count, sum(l.amount - l.fee) AS net
                       FROM settlements s JOIN settlement_lines l ON l.settlement_id = s.id WHERE s.status <> 'open'
                       GROUP BY 1, 2) l ON l.id = g.id AND l.method = g.method
            WHERE (coalesce(g.count, 0), coalesce(g.net, 0)) <> (coalesce(l.count, 0), coalesce(l.net, 0))
        """,
    ),
    Rule(
        invariant="I7",
        name="closed once",
        sentence="A settlement was closed once, at its recorded time, not before its end.",
        checked="SELECT count(*) FROM settlements WHERE status <> 'open'",
        violations="""
            SELECT s.id, format('%s, closed at %s, ends at %s, closed %s times by its history, last at %s', s.status,
                s.closed_at, s.end_at, count(h.at), max(h.at)) AS problem
            FROM settlements s LEFT JOIN settlement_history h ON h.settlement_id = s.id AND h.event = 'close'
            GROUP BY s.id
            HAVING count(h.at) <> (CASE s.status WHEN 'open' THEN 0 ELSE 1 END) OR max(h.at) IS DISTINCT FROM s.closed_at
                OR s.closed_at < s.end_at
        """,
    ),
)
