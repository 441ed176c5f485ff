"""I10: a caller's idempotency key belongs to one payment, and the response stored for replay matches that payment.

Records expire after 24 hours, so an older payment has lost its key; its ``client_reference`` still protects it. The stored
body is matched against patterns instead of parsed as JSON, so that a malformed body is a violation and not an error. A record
with a recipe instead shows the payment's own columns (``workflows.requests.first_answers``), whose checksum each replay
compares.
"""

from workflows.invariants.rule import Rule

OF_PAYMENTS = "k.method = 'POST' AND k.path = '/api/v1/payments' AND k.status = 201"

RULES = (
    Rule(
        invariant="I10",
        name="one payment for each key",
        sentence="A stored 201 response shows its payment as it was accepted.",
        checked=f"SELECT count(*) FROM idempotency_records k WHERE {OF_PAYMENTS}",
        violations=f"""
            SELECT coalesce(k.resource_id, k.key) AS id, CASE
                WHEN p.id IS NULL THEN format('key %s answers with a payment that does not exist', k.key)
                WHEN k.body IS NULL THEN format('key %s of %s answers by the recipe %s', k.key, k.merchant_id, k.recipe)
                ELSE format('key %s answers with %s, %s %s of another merchant or payment', k.key, b.id, b.amount, b.currency)
                END AS problem
            FROM idempotency_records k
            LEFT JOIN payments p ON p.id = k.resource_id
            CROSS JOIN LATERAL (SELECT
                substring(k.body FROM '^\\{{"id":"([^"]*)"') AS id, substring(k.body FROM '"status":"([^"]*)"') AS status,
                substring(k.body FROM '"amount":([0-9]+)') AS amount, substring(k.body FROM '"currency":"([^"]*)"') AS currency
            ) b
            WHERE {OF_PAYMENTS} AND CASE WHEN k.body IS NULL
                THEN (k.recipe ~ '^[0-9]+ [0-9a-f]{{8}}( [{{].*[}}])?$' AND p.merchant_id = k.merchant_id) IS NOT TRUE
                ELSE (p.id, p.merchant_id, 'pending', p.amount::text, p.currency)
                    IS DISTINCT FROM (b.id, k.merchant_id, b.status, b.amount, b.currency) END
        """,
    ),
    Rule(
        invariant="I10",
        name="one key for each payment",
        sentence="A payment of the last day has exactly one key.",
        checked="SELECT count(*) FROM payments WHERE created_at > now() - interval '23 hours'",
        violations=f"""
            SELECT p.id, format('has %s keys', count(k.key)) AS problem
            FROM payments p LEFT JOIN idempotency_records k ON k.resource_id = p.id AND {OF_PAYMENTS}
            WHERE p.created_at > now() - interval '23 hours'
            GROUP BY p.id HAVING count(k.key) <> 1
        """,
    ),
    Rule(
        invariant="I10",
        name="keys of payments by caller",
        sentence="A response stored for a caller shows a payment that this caller made.",
        checked=f"SELECT count(*) FROM idempotency_records k WHERE {OF_PAYMENTS} AND caller <> ''",
        violations=f"""
            SELECT k.resource_id AS id,
                   format('made by %s and kept for %s', made_by(k.resource_id, k.path), k.caller) AS problem
            FROM idempotency_records k
            WHERE {OF_PAYMENTS} AND caller <> '' AND caller IS DISTINCT FROM made_by(k.resource_id, k.path)
        """,
    ),
    Rule(
        invariant="I10",
        name="one answer for each key",
        sentence="A caller's key has one answer for each method and path.",
        checked="SELECT count(*) FROM idempotency_records WHERE expires_at > now() AND caller <> ''",
        violations="""
            SELECT split_part(key, chr(10), 1) AS id, format('%s has %s answers to it', caller, count(*)) AS problem
            FROM idempotency_records WHERE expires_at > now() AND caller <> ''
            GROUP BY merchant_id, caller, method, path, split_part(key, chr(10), 1) HAVING count(*) > 1
        """,
    ),
    Rule(
        invariant="I10",
        name="one payment for each client reference",
        sentence="A client_reference names one payment of its merchant.",
        checked="SELECT count(*) FROM payments WHERE client_reference IS NOT NULL",
        violations="""
            SELECT min(id) AS id, format('shares the reference %s with %s others', client_reference, count(*) - 1) AS problem
            FROM payments WHERE client_reference IS NOT NULL
            GROUP BY merchant_id, client_reference HAVING count(*) > 1
        """,
    ),
)
