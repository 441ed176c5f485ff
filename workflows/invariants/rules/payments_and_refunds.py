"""I2 to I4 and I9: the amounts, the final status and the time limit of each payment and refund.

| rule | what it checks |
|---|---|
| captured amounts (I2) | a payment captured its amount plus tip if and only if its status says that the money moved |
| known outcomes (I3) | a row with a final status has a known outcome, one final date, no lease and no due time |
| refund reservations (I4) | refunds never exceed the captured amount |
| refund sums (I4) | a payment's reserved and refunded amounts are the sums of its refunds |
| refunds of their payments (I4) | a refund has the store, currency and provider of its payment (archived ones: ``archive``) |
| looked after (I9) | every open payment and refund has a due time, or waits for a person |
| listed (I9) | every row that is due, unsettled or has a provider's reference is in the narrow table that finds it |
| bound (I9) | every open payment and refund is within the limit of the next table |

| open payment or refund | must be final or in review by |
|---|---|
| its outcome is not in doubt | its expiry, plus the longest outage to survive (F6, F7: 10 min) and time to catch up |
| its outcome is unknown | the time of its review, plus one hourly inquiry (±20 %) and the same outage |
| ``needs_review`` | no limit, because a person reviews it |
| a refund that needs action | no limit, because a person at the till returns the money; the metrics show its age |

A refund has no expiry. The rule allows one hour instead, for a provider that is unavailable or slow.
"""

from workflows.invariants.rule import Rule

STATUSES_DATED: dict[str, dict[str, tuple[str, ...]]] = {
    "payment": {"completed_at": ("completed", "refunded"), "failed_at": ("failed",), "cancelled_at": ("cancelled",)},
    "refund": {"completed_at": ("completed",), "failed_at": ("failed",)},
}
"""For each entity, the column of each final date, and the statuses in which that date is set."""

OUTAGE_SECONDS = 900
LAST_INQUIRY_SECONDS = 3_600 * 1.2
OPEN = "status IN ('pending', 'processing')"
EXPIRES_AT = {"payment": "expires_at", "refund": "coalesce(reported_at, created_at) + interval '1 hour'"}
WAITS_FOR_A_PERSON = {"payment": "needs_review", "refund": "(needs_review OR needs_action)"}


AMOUNTS = (
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
            WHERE ((p.merchant_id, p.store_id, p.currency, p.provider)
                IS DISTINCT FROM (r.merchant_id, r.store_id, r.currency, r.provider)
               OR p.status NOT IN ('completed', 'refunded'))
              AND NOT (p.id IS NULL AND EXISTS (
                  SELECT FROM archived_months m WHERE substr(r.payment_id, 5) >= m.low AND substr(r.payment_id, 5) < m.high))
        """,
    ),
)


def _known_outcome(entity: str) -> Rule:
    final = "status NOT IN ('pending', 'processing')"
    faults = {
        "NOT outcome_known": "status || ' with an unknown outcome'",
        "lease_until IS NOT NULL": "status || ' and still leased'",
        "due_at IS NOT NULL": "status || ' and still due'",
    }
    for column, statuses in STATUSES_DATED[entity].items():
        listed = ", ".join(f"'{status}'" for status in statuses)
        description = f"format('%s, {column} is %s', status, coalesce({column}::text, 'missing'))"
        faults[f"({column} IS NOT NULL) <> (status IN ({listed}))"] = description
    problems = ", ".join(f"CASE WHEN {fault} THEN {description} END" for fault, description in faults.items())
    return Rule(
        invariant="I3",
        name=f"known outcomes of a {entity}",
        sentence=f"A final {entity} has a known outcome, its date, no lease, nothing due.",
        checked=f"SELECT count(*) FROM {entity}s WHERE {final}",
        violations=f"""
            SELECT id, concat_ws(', ', {problems}) AS problem FROM {entity}s WHERE {final} AND ({" OR ".join(faults)})
        """,
    )


def _is_due(entity: str) -> Rule:
    return Rule(
        invariant="I9",
        name=f"looked after: a {entity}",
        sentence=f"Every open {entity} has a due time, or waits for a person.",
        checked=f"SELECT count(*) FROM {entity}s WHERE {OPEN}",
        violations=f"""
            SELECT id, status || ' without a due time' AS problem FROM {entity}s
            WHERE {OPEN} AND due_at IS NULL AND NOT {WAITS_FOR_A_PERSON[entity]}
        """,
    )


def _is_listed(entity: str) -> Rule:
    """Return the rule about the narrow tables by which sweeps and closes find rows (migration 0027)."""
    return Rule(
        invariant="I9",
        name=f"listed: a {entity}",
        sentence=f"Every {entity} that is due or unsettled, or has a reference, is listed.",
        checked=f"SELECT count(*) FROM {entity}s WHERE due_at IS NOT NULL OR completed_at IS NOT NULL",
        violations=f"""
            SELECT e.id, format('due at %s, listed from %s', e.due_at, coalesce(d.due_at::text, 'never')) AS problem
            FROM {entity}s e LEFT JOIN due_{entity}s d ON d.id = e.id
            WHERE e.due_at IS NOT NULL AND (d.due_at <= e.due_at) IS NOT TRUE
            UNION ALL
            SELECT e.id, format('completed at %s, in no settlement and not listed', e.completed_at)
            FROM {entity}s e LEFT JOIN unsettled_{entity}s u ON u.store_id = e.store_id AND u.currency = e.currency
                AND u.completed_at = e.completed_at AND u.id = e.id
            WHERE e.completed_at IS NOT NULL AND e.settlement_id IS NULL AND u.id IS NULL
            UNION ALL
            SELECT e.id, format('its reference %s is not listed', e.provider_reference)
            FROM {entity}s e LEFT JOIN {entity}_references r ON r.id = e.id AND r.provider_reference = e.provider_reference
            WHERE e.provider_reference IS NOT NULL AND r.id IS NULL
        """,
    )


def _within_limit(entity: str) -> Rule:
    until = EXPIRES_AT[entity]
    return Rule(
        invariant="I9",
        name=f"bound of a {entity}",
        sentence=f"Every open {entity} is within its time limit, or waits for a person.",
        checked=f"SELECT count(*) FROM {entity}s WHERE {OPEN}",
        violations=f"""
            SELECT id, CASE WHEN outcome_known THEN format('%s since %s, expired at %s', status, created_at, {until})
                ELSE format('in doubt since %s', coalesce(in_doubt_since::text, 'an unknown time')) END AS problem
            FROM {entity}s
            WHERE {OPEN} AND NOT {WAITS_FOR_A_PERSON[entity]} AND CASE WHEN outcome_known
                THEN now() > {until} + make_interval(secs => {OUTAGE_SECONDS})
                ELSE in_doubt_since IS NULL OR now() > in_doubt_since + make_interval(
                    secs => CAST(:review_after_seconds AS double precision) + {LAST_INQUIRY_SECONDS + OUTAGE_SECONDS}) END
        """,
    )


RULES = (
    *AMOUNTS,
    *(_known_outcome(entity) for entity in STATUSES_DATED),
    *(rule for entity in EXPIRES_AT for rule in (_is_due(entity), _is_listed(entity), _within_limit(entity))),
)
