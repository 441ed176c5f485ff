"""I2 and I3, our half: a final status is proven by the attempts, which were written before each call.

An attempt without an answer, or with an unknown one, is money that may have moved: a payment that has one cannot be
failed or cancelled, whatever came after.
"""

from workflows.invariants.rule import Rule

RULES = (
    Rule(
        invariant="I2",
        name="proven success",
        sentence="A completed payment has exactly one successful attempt, its last.",
        checked="SELECT count(*) FROM payments WHERE status IN ('completed', 'refunded')",
        violations="""
            SELECT p.id, format('%s with %s successful attempts of %s', p.status,
                count(*) FILTER (WHERE a.outcome = 'succeeded'), count(a.number)) AS problem
            FROM payments p LEFT JOIN payment_attempts a ON a.payment_id = p.id
            WHERE p.status IN ('completed', 'refunded')
            GROUP BY p.id, p.status
            HAVING count(*) FILTER (WHERE a.outcome = 'succeeded') <> 1
                OR max(a.number) FILTER (WHERE a.outcome = 'succeeded') <> max(a.number)
        """,
    ),
    Rule(
        invariant="I3",
        name="proven failure",
        sentence="No attempt of a failed or cancelled payment moved money, or may have.",
        checked="""
            SELECT count(*) FROM payment_attempts a JOIN payments p ON p.id = a.payment_id
            WHERE p.status IN ('failed', 'cancelled')
        """,
        violations="""
            SELECT p.id, format('%s although attempt %s is %s', p.status, a.number,
                coalesce(a.outcome, 'unanswered')) AS problem
            FROM payments p JOIN payment_attempts a ON a.payment_id = p.id
            WHERE p.status IN ('failed', 'cancelled')
              AND coalesce(a.outcome, '') NOT IN ('declined', 'unavailable', 'withdrawn')
        """,
    ),
)
