"""I2, our own data: a payment captured its amount plus tip if and only if its status says that the money moved."""

from workflows.invariants.rule import Rule

RULES = (
    Rule(
        invariant="I2",
        name="captured amounts",
        sentence="Completed and refunded payments captured amount + tip, others nothing.",
        checked="SELECT count(*) FROM payments",
        violations="""
            SELECT id, format('%s with %s + %s to pay captured %s', status, amount, tip_amount, captured_amount) AS problem
            FROM payments
            WHERE captured_amount <> CASE WHEN status IN ('completed', 'refunded') THEN amount + tip_amount ELSE 0 END
        """,
    ),
)
