"""I15, by our own database: reconciled settlements with their corrections add up to the providers' statements.

The rule compares two amounts per store, provider, currency and reference. A reference is the provider's if it is known, else
ours. Of the matcher's findings, only the resolutions of breaks are used.

| amount      | of one reference                                                                              |
|-------------|-----------------------------------------------------------------------------------------------|
| booked      | its lines in settlements, fees deducted, and all corrections ever booked for it               |
| reported    | its lines in the statements of the last runs                                                  |

If the statements of several settlements list a reference, those of the settlement that has our line are used. A statement that
covers two days is therefore not counted twice.

A reference is left out if the books and the statements may still differ, or if a person has said why they do:

- it has a line, a statement or a waiting sale outside of reconciled settlements (open, expected, late);
- its lines are in settlements whose provider was not compared (accepted by a person, or by policy);
- it is a slip number that terminals used for several sales, so nothing says which sale a statement's line is about;
- a person resolved its break with ``ignore``, or with a link that has a note;
- a person linked its break to a row that is not reconciled yet, or that the provider reported under another reference too.

Write-offs are booked and therefore compared. References that were linked to each other have to add up together.
"""

from workflows.invariants.rule import Rule

_LAST_RUN = """
    -- last_run: the last run of each settlement's reconciliation
    SELECT DISTINCT ON (settlement_id) settlement_id, number, statement_ids FROM reconciliation_runs
    ORDER BY settlement_id, number DESC
"""
_COMPARED = """
    -- compared: the providers whose statements that run compared
    SELECT DISTINCT r.settlement_id, t.provider FROM last_run r JOIN statements t ON t.id = ANY (r.statement_ids)
"""
_LINES = """
    -- lines: payments and refunds in settlements, each with the reference (key) under which it is counted
    SELECT l.store_id, l.provider, l.currency, l.kind, l.our_reference, l.settlement_id, l.amount, l.fee, l.entity_id,
           coalesce(l.provider_reference, l.our_reference, l.entity_id) AS key, s.status = 'reconciled' AS is_done,
           c.provider IS NOT NULL AS is_compared
    FROM settlement_lines l JOIN settlements s ON s.id = l.settlement_id
    LEFT JOIN compared c ON c.settlement_id = l.settlement_id AND c.provider = l.provider
    WHERE l.kind <> 'adjustment'
"""
_KEYS = """
    -- keys: our references, each with the key under which rows are counted that have only our reference
    SELECT DISTINCT ON (store_id, provider, our_reference) store_id, provider, our_reference, key
    FROM lines WHERE our_reference IS NOT NULL ORDER BY store_id, provider, our_reference, key
"""
_BOOKED = """
    -- booked: the lines of each key and kind
    SELECT store_id, provider, currency, key, kind, sum(amount - fee) AS net, sum(fee) AS fees,
           bool_and(is_done) AS is_done, bool_or(is_compared) AS is_compared,
           provider = 'external' AND count(*) > 1 AS is_reused,
           array_agg(DISTINCT settlement_id) AS homes
    FROM lines GROUP BY store_id, provider, currency, key, kind
"""
_CORRECTIONS = """
    -- corrections: the adjustments of each key
    SELECT a.store_id, a.provider, a.currency, coalesce(k.key, a.provider_reference, a.our_reference, a.entity_id) AS key,
           sum(a.amount) AS net, a.provider = 'external' AND count(*) > 1 AS is_reused
    FROM settlement_lines a LEFT JOIN keys k USING (store_id, provider, our_reference)
    WHERE a.kind = 'adjustment' GROUP BY 1, 2, 3, 4
"""
_STATED = """
    -- stated: the statement lines of each key and kind, per settlement
    SELECT t.store_id, t.provider, l.currency, coalesce(k.key, l.provider_reference, l.our_reference) AS key, l.kind,
           t.settlement_id, min(s.start_at) AS start_at, bool_and(s.status = 'reconciled') AS is_done,
           sum(l.amount - coalesce(l.fee, 0)) AS net, bool_or(l.fee IS NULL) AS lacks_fees
    FROM last_run r JOIN statements t ON t.id = ANY (r.statement_ids) JOIN settlements s ON s.id = t.settlement_id
    JOIN statement_lines l ON l.statement_id = t.id AND l.is_settled
    LEFT JOIN keys k ON (k.store_id, k.provider, k.our_reference) = (t.store_id, t.provider, l.our_reference)
    GROUP BY 1, 2, 3, 4, 5, 6
"""
_REPORTED = """
    -- reported: what is stated by the settlements that have the lines, else by the latest one; if a statement has no fees,
    -- the booked fees are deducted
    SELECT DISTINCT ON (store_id, provider, currency, key, kind) store_id, provider, currency, key, kind,
           coalesce(sum(d.net - d.owed) FILTER (WHERE d.is_home) OVER w, d.net - d.owed) AS net,
           bool_and(d.is_done) OVER w AS is_done
    FROM (SELECT y.*, b.homes IS NOT NULL AND y.settlement_id = ANY (b.homes) AS is_home,
                 CASE WHEN y.lacks_fees THEN coalesce(b.fees, 0) ELSE 0 END AS owed
          FROM stated y LEFT JOIN booked b USING (store_id, provider, currency, key, kind)) d
    WINDOW w AS (PARTITION BY store_id, provider, currency, key, kind)
    ORDER BY store_id, provider, currency, key, kind, d.start_at DESC
"""
_WAITING = """
    -- waiting: the references of payments and refunds that are in no settlement yet
    SELECT store_id, provider, provider_reference AS key FROM payments
    WHERE completed_at IS NOT NULL AND settlement_id IS NULL
    UNION SELECT store_id, provider, id || ':' || attempts FROM payments
    WHERE completed_at IS NOT NULL AND settlement_id IS NULL
    UNION SELECT store_id, provider, provider_reference FROM refunds
    WHERE completed_at IS NOT NULL AND settlement_id IS NULL
    UNION SELECT store_id, provider, id || ':' || attempts FROM refunds
    WHERE completed_at IS NOT NULL AND settlement_id IS NULL
"""
_RESOLVED = """
    -- resolved: how people resolved the breaks of each key; is_excused: the amounts may differ for the reason they gave
    SELECT b.store_id, b.provider, coalesce(k.key, b.provider_reference, b.our_reference) AS key,
           bool_or(b.resolution IN ('link', 'confirm')) AS is_linked,
           bool_or(b.resolution = 'ignore' OR b.note IS NOT NULL OR NOT (
               EXISTS (SELECT FROM lines l WHERE l.entity_id = b.reference AND l.is_done AND l.is_compared
                       AND (l.key = coalesce(k.key, b.provider_reference, b.our_reference)
                            OR NOT EXISTS (SELECT FROM stated y WHERE (y.store_id, y.provider, y.key)
                                               = (l.store_id, l.provider, l.key))))
               OR EXISTS (SELECT FROM breaks o JOIN settlements s ON s.id = o.settlement_id
                          WHERE o.id = b.reference AND s.status = 'reconciled'))) AS is_excused
    FROM breaks b JOIN last_run r ON r.settlement_id = b.settlement_id AND r.number = b.run
    LEFT JOIN keys k ON (k.store_id, k.provider, k.our_reference) = (b.store_id, b.provider, b.our_reference)
    WHERE b.resolution IN ('ignore', 'link', 'confirm') GROUP BY 1, 2, 3
"""
_AMOUNTS = """
    -- amounts: both sides in one list
    SELECT store_id, provider, currency, key, net AS booked, 0 AS reported, is_done, is_compared, is_reused FROM booked
    UNION ALL SELECT store_id, provider, currency, key, net, 0, true, true, is_reused FROM corrections
    UNION ALL SELECT store_id, provider, currency, key, 0, net, is_done, true, false FROM reported
"""
_REFERENCES = """
    -- refs: the references that have to agree, with their two amounts
    SELECT a.store_id, a.provider, a.currency, a.key, sum(a.booked) AS booked, sum(a.reported) AS reported,
           coalesce(bool_or(e.is_linked), false) AS is_linked
    FROM amounts a LEFT JOIN resolved e USING (store_id, provider, key)
    WHERE a.provider <> 'cash'
      AND NOT EXISTS (SELECT FROM waiting w
                      WHERE (w.store_id, w.provider, w.key) = (a.store_id, a.provider, a.key))
    GROUP BY 1, 2, 3, 4
    HAVING bool_and(a.is_done) AND bool_or(a.is_compared) AND NOT bool_or(a.is_reused)
       AND NOT coalesce(bool_or(e.is_excused), false)
"""

_STEPS = {
    "last_run": _LAST_RUN,
    "compared": _COMPARED,
    "lines": _LINES,
    "keys": _KEYS,
    "booked": _BOOKED,
    "corrections": _CORRECTIONS,
    "stated": _STATED,
    "reported": _REPORTED,
    "waiting": _WAITING,
    "resolved": _RESOLVED,
    "amounts": _AMOUNTS,
    "refs": _REFERENCES,
}
"""The steps from the tables to the references that are compared. A step may read the steps above it."""

_WITH = "WITH " + ", ".join(f"{name} AS ({step})" for name, step in _STEPS.items())
_PLACE = "concat_ws(' ', store_id, provider, currency)"

RULES = (
    Rule(
        invariant="I15",
        name="provider's net",
        sentence="Reconciled settlements with their corrections add up to the statements.",
        checked=f"{_WITH} SELECT count(*) FROM refs",
        violations=f"""{_WITH}
            SELECT {_PLACE} AS id, format('%s: settlements with corrections hold %s, the provider says %s', key, booked,
                reported) AS problem
            FROM refs WHERE NOT is_linked AND booked <> reported
            UNION ALL
            SELECT {_PLACE}, format('linked references: settlements with corrections hold %s, the provider says %s',
                sum(booked), sum(reported))
            FROM refs WHERE is_linked GROUP BY store_id, provider, currency HAVING sum(booked) <> sum(reported)
        """,
    ),
)
