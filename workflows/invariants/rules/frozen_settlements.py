"""I7: a closed settlement never changes: its figures are still those of its lines, and it was closed once."""

from workflows.invariants.rule import Rule

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
