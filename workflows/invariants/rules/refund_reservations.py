"""I4: what is being given back never exceeds what was taken."""

from workflows.invariants.rule import Rule

RULES = (
    Rule(
        invariant="I4",
        name="refund reservations",
        sentence="Given back ≤ reserved for giving back ≤ captured.",
        checked="SELECT count(*) FROM payments",
        violations="""
            SELECT id, format('%s, captured %s, reserved %s, refunded %s', status, captured_amount, refund_reserved,
                refunded_amount) AS problem
            FROM payments
            WHERE refunded_amount < 0 OR refund_reserved < refunded_amount OR refund_reserved > captured_amount
               OR (status = 'refunded') <> (refunded_amount > 0) OR (status = 'refunded') <> (refunded_at IS NOT NULL)
        """,
    ),
)
