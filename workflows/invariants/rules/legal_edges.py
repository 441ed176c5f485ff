"""I5: every change of status in the history is a transition of behaviour §4, and begins with the initial status.

The transitions are repeated here on purpose; see ``workflows.invariants.rule``.
"""

from workflows.invariants.rule import Rule, one

LEGAL = {
    "payment": (
        "pending -claim> processing",
        "processing -complete> completed",
        "processing -fail> failed",
        "processing -cancel> cancelled",
        "completed -refund> refunded",
        # Remarks: something new is known, and the status does not change.
        "processing -ask_customer> processing",
        "processing -doubt> processing",
        "processing -request_cancel> processing",
        "refunded -refund_more> refunded",
        "processing -request_review> processing",
        "processing -requeue> processing",
        "completed -request_review> completed",
    ),
    "refund": (
        "pending -claim> processing",
        "processing -complete> completed",
        "processing -fail> failed",
        "processing -await_provider> processing",
        "pending -await_action> pending",
        "pending -report> pending",
        "processing -doubt> processing",
        "processing -request_review> processing",
        "processing -requeue> processing",
    ),
    "order": (
        "draft -submit> open",
        "open -pay> paid",
        "paid -fulfil> completed",
        "draft -cancel> cancelled",
        "open -cancel> cancelled",
        "paid -cancel> cancelled",
        "draft -change> draft",
        "open -change> open",
    ),
    "bill": (
        "unpaid -pay_part> partially_paid",
        "unpaid -pay_whole> paid",
        "partially_paid -pay_whole> paid",
        "partially_paid -give_back> unpaid",
        "unpaid -void> voided",
        "unpaid -reserve> unpaid",
        "partially_paid -reserve> partially_paid",
        "unpaid -release> unpaid",
        "partially_paid -release> partially_paid",
        "partially_paid -pay_more> partially_paid",
        "partially_paid -give_back_part> partially_paid",
        "paid -give_back_paid> paid",
    ),
    "settlement": (
        "open -close> closed",
        "closed -reconcile> reconciled",
        "closed -count_cash> closed",
        "closed -compare> closed",
    ),
    "device": (
        "pending_activation -activate> active",
        "active -suspend> suspended",
        "suspended -resume> active",
        "pending_activation -deactivate> deactivated",
        "active -deactivate> deactivated",
        "suspended -deactivate> deactivated",
        # Remarks: a code for another key was given, the key was replaced.
        "active -offer_key> active",
        "suspended -offer_key> suspended",
        "active -replace_key> active",
        "suspended -replace_key> suspended",
    ),
}
INITIAL = {
    "payment": "pending",
    "refund": "pending",
    "order": "draft",
    "bill": "unpaid",
    "settlement": "open",
    "device": "pending_activation",
}


def _rule(entity: str) -> Rule:
    edges = ", ".join(f"'{edge}'" for edge in LEGAL[entity])
    return Rule(
        invariant="I5",
        name=f"legal edges of {one(entity)}",
        sentence=f"{one(entity).capitalize()} begins as {INITIAL[entity]} and changes by legal transitions only.",
        checked=f"SELECT count(*) FROM {entity}_history",
        violations=f"""
            SELECT {entity}_id AS id, format('version %s went from %s by %s to %s', version,
                coalesce(from_status, 'nothing'), event, to_status) AS problem
            FROM {entity}_history
            WHERE CASE WHEN from_status IS NULL THEN version <> 1 OR to_status <> '{INITIAL[entity]}'
                       ELSE version = 1 OR from_status || ' -' || event || '> ' || to_status NOT IN ({edges}) END
        """,
    )


RULES = tuple(_rule(entity) for entity in LEGAL)
