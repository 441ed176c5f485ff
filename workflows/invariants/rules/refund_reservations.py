"""I4: refunds never exceed the captured amount, and a payment's sums are those of its refunds."""

from workflows.invariants.rule import Rule

RULES = (
    Rule(
        invariant="I4",
        name="refund reservations",
        sentence="Refunded ≤ reserved for refunds ≤ captured.",
        checked="SELECT count(*) FROM payments",
        violations="""
            SELECT id, format('%s, captured %s, reserved %s, refunded %s', status, captured_amount, refund_reserved,
                refunded_amount) AS problem
            FROM payments
            WHERE refunded_amount < 0 OR refund_reserved < refunded_amount OR refund_reserved > captured_amount
               OR (status = 'refunded') <> (refunded_amount > 0) OR (status = 'refunded') <> (refunded_at IS NOT NULL)
        """,
    ),
    Rule(
        invariant="I4",
        name="refund sums",
        sentence="A payment's reserved and refunded amounts are the sums of its refunds.",
        checked="SELECT count(*) FROM refunds",
        violations="""
            SELECT p.id, format('reserved %s and refunded %s, its refunds say %s and %s', p.refund_reserved,
                p.refunded_amount, coalesce(r.live, 0), coalesce(r.completed, 0)) AS problem
            FROM payments p
            LEFT JOIN (SELECT payment_id, sum(amount) FILTER (WHERE status <> 'failed') AS live,
                              sum(amount) FILTER (WHERE status = 'completed') AS completed
                       FROM refunds GROUP BY payment_id) r ON r.payment_id = p.id
            WHERE (p.refund_reserved, p.refunded_amount) <> (coalesce(r.live, 0), coalesce(r.completed, 0))
        """,
    ),
    Rule(
        invariant="I4",
        name="refunds of their payments",
        sentence="A refund is of a payment of its own store, currency and provider.",
        checked="SELECT count(*) FROM refunds",
        violations="""
            SELECT r.id, format('%s %s of %s', r.provider, r.currency, r.payment_id) AS problem
            FROM refunds r LEFT JOIN payments p ON p.id = r.payment_id
            WHERE (p.merchant_id, p.store_id, p.currency, p.provider)
                IS DISTINCT FROM (r.merchant_id, r.store_id, r.currency, r.provider)
               OR p.status NOT IN ('completed', 'refunded')
        """,
    ),
)
