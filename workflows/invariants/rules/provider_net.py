"""I15, as far as our database knows: reconciled settlements with their corrections add up to the statements.

Judged per store, provider and currency, reference by reference. Of the matcher's findings only the resolutions of breaks are
used. A reference is the provider's if it is known; rows that quote our attempt are counted under it.

| of a reference | is |
|---|---|
| held | its lines in settlements, fees deducted, and all corrections booked for it, whenever |
| told | what the statements of the last runs said of it; of several settlements, the one with its line |

A file that covers two days is therefore not counted twice.

Left out, because the books and the statements may still differ, or a person has said why they do:

- a reference with a line, a statement or a waiting sale outside of reconciled settlements (open, expected, late);
- lines of settlements whose provider was not compared (accepted by a person, or by policy);
- slip numbers that terminals used for several sales: nothing says which of these a statement's line is about;
- a break that a person ended with ``ignore``, with a link that has a note, or with a link to a row that is not reconciled
  yet, and money that the provider reported twice under two references.

Write-offs are booked and therefore judged. References that were linked to each other have to add up together.
"""

from workflows.invariants.rule import Rule

_BOOKS = """
    WITH last_run AS (
        SELECT DISTINCT ON (settlement_id) settlement_id, number, statement_ids FROM reconciliation_runs
        ORDER BY settlement_id, number DESC
    ), compared AS (
        SELECT DISTINCT r.settlement_id, t.provider
        FROM last_run r JOIN statements t ON t.id = ANY (r.statement_ids)
    ), lines AS (
        SELECT l.store_id, l.provider, l.currency, l.kind, l.our_reference, l.settlement_id, l.amount, l.fee, l.entity_id,
               coalesce(l.provider_reference, l.our_reference, l.entity_id) AS key, s.status = 'reconciled' AS is_done,
               c.provider IS NOT NULL AS is_compared
        FROM settlement_lines l JOIN settlements s ON s.id = l.settlement_id
        LEFT JOIN compared c ON c.settlement_id = l.settlement_id AND c.provider = l.provider
        WHERE l.kind <> 'adjustment'
    ), names AS ( -- our references, and the keys under which they are counted
        SELECT DISTINCT ON (store_id, provider, our_reference) store_id, provider, our_reference, key
        FROM lines WHERE our_reference IS NOT NULL ORDER BY store_id, provider, our_reference, key
    ), held AS (
        SELECT store_id, provider, currency, key, kind, sum(amount - fee) AS net, sum(fee) AS fees,
               bool_and(is_done) AS is_done, bool_or(is_compared) AS is_compared,
               provider = 'external' AND count(*) > 1 AS is_reused,
               array_agg(DISTINCT settlement_id) AS homes
        FROM lines GROUP BY store_id, provider, currency, key, kind
    ), corrections AS (
        SELECT a.store_id, a.provider, a.currency, coalesce(n.key, a.provider_reference, a.our_reference, a.entity_id) AS key,
               sum(a.amount) AS net, a.provider = 'external' AND count(*) > 1 AS is_reused
        FROM settlement_lines a LEFT JOIN names n USING (store_id, provider, our_reference)
        WHERE a.kind = 'adjustment' GROUP BY 1, 2, 3, 4
    ), said AS (
        SELECT t.store_id, t.provider, l.currency, coalesce(n.key, l.provider_reference, l.our_reference) AS key, l.kind,
               t.settlement_id, min(s.start_at) AS start_at, bool_and(s.status = 'reconciled') AS is_done,
               sum(l.amount - coalesce(l.fee, 0)) AS net, bool_or(l.fee IS NULL) AS lacks_fees
        FROM last_run r JOIN statements t ON t.id = ANY (r.statement_ids) JOIN settlements s ON s.id = t.settlement_id
        JOIN statement_lines l ON l.statement_id = t.id AND l.is_settled
        LEFT JOIN names n ON (n.store_id, n.provider, n.our_reference) = (t.store_id, t.provider, l.our_reference)
        GROUP BY 1, 2, 3, 4, 5, 6
    ), told AS ( -- the settlements that have the lines; else the latest that was told
        SELECT DISTINCT ON (store_id, provider, currency, key, kind) store_id, provider, currency, key, kind,
               coalesce(sum(d.net - d.owed) FILTER (WHERE d.is_home) OVER w, d.net - d.owed) AS net,
               bool_and(d.is_done) OVER w AS is_done
        FROM (SELECT y.*, h.homes IS NOT NULL AND y.settlement_id = ANY (h.homes) AS is_home,
                     CASE WHEN y.lacks_fees THEN coalesce(h.fees, 0) ELSE 0 END AS owed
              FROM said y LEFT JOIN held h USING (store_id, provider, currency, key, kind)) d
        WINDOW w AS (PARTITION BY store_id, provider, currency, key, kind)
        ORDER BY store_id, provider, currency, key, kind, d.start_at DESC
    ), waiting AS (
        SELECT store_id, provider, provider_reference AS key FROM payments
        WHERE completed_at IS NOT NULL AND settlement_id IS NULL
        UNION SELECT store_id, provider, id || ':' || attempts FROM payments
        WHERE completed_at IS NOT NULL AND settlement_id IS NULL
        UNION SELECT store_id, provider, provider_reference FROM refunds
        WHERE completed_at IS NOT NULL AND settlement_id IS NULL
        UNION SELECT store_id, provider, id || ':' || attempts FROM refunds
        WHERE completed_at IS NOT NULL AND settlement_id IS NULL
    ), ended AS ( -- how people ended breaks
        SELECT b.store_id, b.provider, coalesce(n.key, b.provider_reference, b.our_reference) AS key,
               bool_or(b.resolution IN ('link', 'confirm')) AS is_linked,
               bool_or(b.resolution = 'ignore' OR b.note IS NOT NULL OR NOT (
                   EXISTS (SELECT FROM lines l WHERE l.entity_id = b.reference AND l.is_done AND l.is_compared
                           AND (l.key = coalesce(n.key, b.provider_reference, b.our_reference)
                                OR NOT EXISTS (SELECT FROM said y WHERE (y.store_id, y.provider, y.key)
                                                   = (l.store_id, l.provider, l.key))))
                   OR EXISTS (SELECT FROM breaks o JOIN settlements s ON s.id = o.settlement_id
                              WHERE o.id = b.reference AND s.status = 'reconciled'))) AS is_named
        FROM breaks b JOIN last_run r ON r.settlement_id = b.settlement_id AND r.number = b.run
        LEFT JOIN names n ON (n.store_id, n.provider, n.our_reference) = (b.store_id, b.provider, b.our_reference)
        WHERE b.resolution IN ('ignore', 'link', 'confirm') GROUP BY 1, 2, 3
    ), sides AS (
        SELECT store_id, provider, currency, key, net AS held, 0 AS told, is_done, is_compared, is_reused FROM held
        UNION ALL SELECT store_id, provider, currency, key, net, 0, true, true, is_reused FROM corrections
        UNION ALL SELECT store_id, provider, currency, key, 0, net, is_done, true, false FROM told
    ), judged AS (
        SELECT s.store_id, s.provider, s.currency, s.key, sum(s.held) AS held, sum(s.told) AS told,
               coalesce(bool_or(e.is_linked), false) AS is_linked
        FROM sides s LEFT JOIN ended e USING (store_id, provider, key)
        WHERE s.provider <> 'cash'
          AND NOT EXISTS (SELECT FROM waiting w
                          WHERE (w.store_id, w.provider, w.key) = (s.store_id, s.provider, s.key))
        GROUP BY 1, 2, 3, 4
        HAVING bool_and(s.is_done) AND bool_or(s.is_compared) AND NOT bool_or(s.is_reused)
           AND NOT coalesce(bool_or(e.is_named), false)
    )
"""
_PLACE = "concat_ws(' ', store_id, provider, currency)"

RULES = (
    Rule(
        invariant="I15",
        name="provider's net",
        sentence="Reconciled settlements with their corrections add up to the statements.",
        checked=f"{_BOOKS} SELECT count(*) FROM judged",
        violations=f"""{_BOOKS}
            SELECT {_PLACE} AS id, format('%s: settlements with corrections hold %s, the provider says %s', key, held, told)
                AS problem
            FROM judged WHERE NOT is_linked AND held <> told
            UNION ALL
            SELECT {_PLACE}, format('linked references: settlements with corrections hold %s, the provider says %s', sum(held),
                sum(told))
            FROM judged WHERE is_linked GROUP BY store_id, provider, currency HAVING sum(held) <> sum(told)
        """,
    ),
)
