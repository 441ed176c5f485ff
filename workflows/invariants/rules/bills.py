"""I12: a bill's paid and reserved amounts equal those of its payments, within its total; parts add up to the whole.

| rule | what it compares |
|---|---|
| bill balances | the amounts of a bill with its total and its status |
| bill sums | the same with its payments: reserved = those in progress, paid − refunded = the rest of the completed ones |
| counted once | the bill's history with its payments: each is reserved once, then paid or released once |
| bill parts | a bill that was split with its parts |
| billed once | all bills of the same orders with these orders' totals |
| paid orders | the status of an order with its bills |

A refund reduces a payment's amount first and its tip last, and the tip was never on the bill. What is left of a payment for
its bill is therefore ``max(amount − refunded_amount, 0)``. A payment that was completed together with its own refund is
``off_bill``: its reservation was released, and neither the payment nor the refund counts. A bill that was refunded in full
stays paid, but its part of the order may be billed again. Payments of archived months are in ``carried_bills``.
"""

from workflows.invariants.rule import Rule

MOVED = "p.status IN ('completed', 'refunded')"
RETURNED = "(b.status = 'paid' AND b.refunded_amount > 0 AND b.refunded_amount = b.paid_amount)"
UNDER_WAY = "p.status IN ('pending', 'processing')"

RULES = (
    Rule(
        invariant="I12",
        name="bill balances",
        sentence="Paid + reserved ≤ total for each bill, and its status says the same.",
        checked="SELECT count(*) FROM bills",
        violations="""
            SELECT id, format('%s, %s paid and %s reserved of %s, %s refunded', status, paid_amount, reserved_amount,
                total_amount, refunded_amount) AS problem
            FROM bills
            WHERE paid_amount < 0 OR reserved_amount < 0 OR paid_amount + reserved_amount > total_amount
               OR total_amount <> subtotal - discount_amount + tax_amount
               OR (status = 'paid') <> (paid_amount = total_amount) OR (status = 'paid') <> (paid_at IS NOT NULL)
               OR (status IN ('unpaid', 'voided')) <> (paid_amount = 0) OR (status = 'voided' AND reserved_amount > 0)
               OR refunded_amount NOT BETWEEN 0 AND CASE status WHEN 'paid' THEN paid_amount ELSE 0 END
        """,
    ),
    Rule(
        invariant="I12",
        name="bill sums",
        sentence="A bill's reserved and paid amounts are the sums of its payments.",
        checked="SELECT count(*) FROM payments WHERE bill_id IS NOT NULL",
        violations=f"""
            SELECT coalesce(b.id, s.bill_id) AS id, CASE WHEN b.id IS NULL THEN 'has payments and no row'
                WHEN s.foreign_rows > 0 THEN format('%s payments of another store or currency', s.foreign_rows)
                ELSE format('%s reserved and %s retained, its payments say %s and %s', b.reserved_amount,
                    b.paid_amount - b.refunded_amount, coalesce(s.held, 0), coalesce(s.retained, 0)) END AS problem
            FROM bills b FULL JOIN (
                SELECT bill_id, sum(held) AS held, sum(retained) AS retained, sum(foreign_rows) AS foreign_rows FROM (
                    SELECT p.bill_id, sum(p.amount) FILTER (WHERE {UNDER_WAY}) AS held,
                           sum(greatest(p.amount - p.refunded_amount, 0))
                               FILTER (WHERE {MOVED} AND NOT p.off_bill) AS retained,
                           count(*) FILTER (WHERE (p.store_id, p.currency) <> (o.store_id, o.currency)) AS foreign_rows
                    FROM payments p LEFT JOIN bills o ON o.id = p.bill_id WHERE p.bill_id IS NOT NULL GROUP BY p.bill_id
                    UNION ALL
                    SELECT c.bill_id, 0, c.retained, (c.store_id <> o.store_id)::integer
                    FROM carried_bills c LEFT JOIN bills o ON o.id = c.bill_id
                ) AS parts GROUP BY bill_id
            ) s ON s.bill_id = b.id
            WHERE b.id IS NULL OR s.foreign_rows > 0 OR (b.reserved_amount, b.paid_amount - b.refunded_amount)
                <> (coalesce(s.held, 0), coalesce(s.retained, 0))
        """,
    ),
    Rule(
        invariant="I12",
        name="counted once",
        sentence="A payment is held on its bill once, then paid or released once.",
        checked="SELECT count(*) FROM payments WHERE bill_id IS NOT NULL",
        violations=f"""
            SELECT p.id, format('%s: held %s times, paid %s, released %s on %s', p.status,
                count(*) FILTER (WHERE h.event = 'reserve'), count(*) FILTER (WHERE h.event LIKE 'pay%'),
                count(*) FILTER (WHERE h.event = 'release'), p.bill_id) AS problem
            FROM payments p LEFT JOIN bill_history h ON h.bill_id = p.bill_id AND h.reason = p.id
            WHERE p.bill_id IS NOT NULL GROUP BY p.id, p.status, p.bill_id, p.off_bill, p.cancel_outcome
            HAVING (count(*) FILTER (WHERE h.event = 'reserve'), count(*) FILTER (WHERE h.event LIKE 'pay%'))
                <> (1, CASE WHEN {MOVED} AND NOT p.off_bill THEN 1 ELSE 0 END)
               OR count(*) FILTER (WHERE h.event = 'release') NOT BETWEEN
                    CASE WHEN {UNDER_WAY} OR {MOVED} AND NOT p.off_bill THEN 0 ELSE 1 END AND
                    CASE WHEN {UNDER_WAY} OR {MOVED} AND NOT p.off_bill AND p.cancel_outcome IS DISTINCT FROM 'too_late'
                        THEN 0 ELSE 1 END
               OR p.off_bill AND (NOT {MOVED} OR p.cancel_outcome IS DISTINCT FROM 'too_late')
        """,
    ),
    Rule(
        invariant="I12",
        name="bill parts",
        sentence="The parts of a bill sum to the whole, which is voided.",
        checked="SELECT count(*) FROM bills WHERE parent_bill_id IS NOT NULL",
        violations="""
            SELECT w.id, format('%s with a total of %s, its parts sum to %s', w.status, w.total_amount, sum(p.total_amount))
                AS problem
            FROM bills p LEFT JOIN bills w ON w.id = p.parent_bill_id WHERE p.parent_bill_id IS NOT NULL
            GROUP BY w.id, w.status, w.total_amount, w.subtotal, w.tax_amount, w.discount_amount
            HAVING (w.status, w.total_amount, w.subtotal, w.tax_amount, w.discount_amount) IS DISTINCT FROM ('voided',
                sum(p.total_amount), sum(p.subtotal), sum(p.tax_amount), sum(p.discount_amount))
        """,
    ),
    Rule(
        invariant="I12",
        name="billed once",
        sentence="The bills of the same orders do not exceed the totals of these orders.",
        checked="SELECT count(*) FROM bill_orders",
        violations=f"""
            SELECT min(b.id) AS id, format('%s billed for orders of %s', sum(b.total_amount), f.total) AS problem
            FROM bills b CROSS JOIN LATERAL (
                SELECT string_agg(o.id, ' ' ORDER BY o.id) AS family, sum(o.total_amount) AS total
                FROM bill_orders bo JOIN orders o ON o.id = bo.order_id WHERE bo.bill_id = b.id) f
            WHERE b.status <> 'voided' AND NOT {RETURNED} GROUP BY f.family, f.total
            HAVING sum(b.total_amount) > coalesce(f.total, 0)
        """,
    ),
    Rule(
        invariant="I12",
        name="paid orders",
        sentence="An order is paid exactly when bills for its whole total are paid.",
        checked="SELECT count(*) FROM orders WHERE status IN ('open', 'paid', 'completed')",
        violations=f"""
            SELECT o.id, format('%s although bills of %s are paid of %s, %s of them refunded', o.status, f.paid, f.total,
                f.returned) AS problem
            FROM orders o CROSS JOIN LATERAL (
                SELECT coalesce(sum(b.total_amount) FILTER (WHERE b.status = 'paid'), 0) AS paid,
                    coalesce(sum(b.total_amount) FILTER (WHERE {RETURNED}), 0) AS returned, o.total_amount + coalesce((
                    -- by their keys: with "or it is o itself" in the condition, all orders would be read for each one
                    SELECT sum(t.total_amount) FROM (
                        SELECT DISTINCT y.order_id FROM bill_orders x
                        JOIN bills z ON z.id = x.bill_id AND z.status <> 'voided'
                        JOIN bill_orders y ON y.bill_id = x.bill_id AND y.order_id <> o.id
                        WHERE x.order_id = o.id) AS others JOIN orders t ON t.id = others.order_id), 0) AS total
                FROM bill_orders bo JOIN bills b ON b.id = bo.bill_id WHERE bo.order_id = o.id) f
            WHERE CASE WHEN o.status = 'open' THEN f.paid - f.returned = f.total
                       ELSE o.status IN ('paid', 'completed') AND f.paid < f.total END
        """,
    ),
)
