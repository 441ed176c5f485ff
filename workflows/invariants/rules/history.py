"""I5 and I14: the history of every entity is complete and in order, and contains only legal transitions.

| rule | what it checks |
|---|---|
| legal edges (I5) | every change of status is a transition of behaviour §4, and the first version has the initial status |
| counted versions (I5) | the version of a row is the number of its history rows, so that every change is recorded |
| history (I14) | each version begins with the status at which the previous one ended, and the last is that of the row |

Versions define the order. Times are not compared, because the database's clock may be set back between two versions. The
transitions are repeated here on purpose; see ``workflows.invariants.rule``.
"""

from workflows.invariants.rule import Rule, with_article

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
        # Remarks: a code for another key was issued; the key was replaced.
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


def _legal_edges(entity: str) -> Rule:
    edges = ", ".join(f"'{edge}'" for edge in LEGAL[entity])
    return Rule(
        invariant="I5",
        name=f"legal edges of {with_article(entity)}",
        sentence=f"{with_article(entity).capitalize()} begins as {INITIAL[entity]} and changes by legal transitions only.",
        checked=f"SELECT count(*) FROM {entity}_history",
        violations=f"""
            SELECT {entity}_id AS id, format('version %s went from %s by %s to %s', version,
                coalesce(from_status, 'nothing'), event, to_status) AS problem
            FROM {entity}_history
            WHERE CASE WHEN from_status IS NULL THEN version <> 1 OR to_status <> '{INITIAL[entity]}'
                       ELSE version = 1 OR from_status || ' -' || event || '> ' || to_status NOT IN ({edges}) END
        """,
    )


def _counted_versions(entity: str) -> Rule:
    return Rule(
        invariant="I5",
        name=f"counted versions of {with_article(entity)}",
        sentence=f"{with_article(entity).capitalize()}'s version is the number of its history rows.",
        checked=f"SELECT count(*) FROM {entity}s",
        violations=f"""
            SELECT coalesce(e.id, h.id) AS id, CASE WHEN e.id IS NULL THEN 'has a history and no row'
                ELSE format('version %s with %s history rows', e.version, coalesce(h.rows, 0)) END AS problem
            FROM {entity}s e
            FULL JOIN (SELECT {entity}_id AS id, count(*) AS rows FROM {entity}_history GROUP BY {entity}_id) h ON h.id = e.id
            WHERE e.version IS DISTINCT FROM h.rows
        """,
    )


def _unbroken_chain(entity: str) -> Rule:
    return Rule(
        invariant="I14",
        name=f"history of {with_article(entity)}",
        sentence=f"{with_article(entity).capitalize()}'s history is in order, has no gap, and ends with its status.",
        checked=f"SELECT count(*) FROM {entity}_history",
        violations=f"""
            SELECT id, problem FROM (
                SELECT h.{entity}_id AS id, concat_ws(', ',
                    CASE WHEN h.version <> coalesce(h.earlier_version, 0) + 1
                        THEN format('version %s comes after %s', h.version, coalesce(h.earlier_version, 0)) END,
                    CASE WHEN h.from_status IS DISTINCT FROM h.earlier_status
                        THEN format('version %s begins as %s after %s', h.version, h.from_status, h.earlier_status) END,
                    CASE WHEN h.is_last AND (e.status, e.version) IS DISTINCT FROM (h.to_status, h.version)
                        THEN format('ends as %s in version %s, the row says %s in version %s', h.to_status, h.version,
                                    e.status, e.version) END) AS problem
                FROM (
                    SELECT *, lag(version) OVER w AS earlier_version, lag(to_status) OVER w AS earlier_status,
                           lead(version) OVER w IS NULL AS is_last
                    FROM {entity}_history WINDOW w AS (PARTITION BY {entity}_id ORDER BY version)
                ) h LEFT JOIN {entity}s e ON e.id = h.{entity}_id
            ) AS links WHERE problem <> ''
        """,
    )


RULES = tuple(
    rule for entity in LEGAL for rule in (_legal_edges(entity), _counted_versions(entity), _unbroken_chain(entity))
)
