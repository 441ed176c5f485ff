"""Define the SQL that payments and refunds share: the statements of a claim, and the parts of the recording statements.

``{entity}`` is ``payment`` or ``refund``, and ``{month}`` follows a table that may be that of a month; refunds have none
(``workflows.database.months``). ``leases`` fills in the names of a claim's statements, ``payments.record`` and
``refunds.record`` those of the parts. In the parts, ``i`` is a row of the input, ``r`` the row to change, and ``recorded``
the rows that were changed because their fences held.
"""

from sqlalchemy import text

# Claiming

LEASE_COLUMNS = """r.id, r.fence, r.provider, r.outcome_known, r.in_doubt_since, r.needs_review, r.inquiries,
    r.unanswered_claims, r.request_id, now() AS now,
    CAST(pg_current_xact_id() AS text) AS transaction_id"""

COMMIT_STATUS = text("SELECT pg_xact_status(CAST(:transaction_id AS xid8))")

START = """
    -- start: every pending row of the batch becomes processing, with its history, its first attempt and one NOTIFY
    WITH picked AS (
        SELECT id FROM {entity}s{month}
        WHERE id = ANY(:ids) AND status = 'pending' {startable} AND (provider <> ALL(CAST(:full AS text[])) OR {unwanted})
        ORDER BY id FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE {entity}s{month} r
        SET status = 'processing', version = r.version + 1, processing_at = now(), fence = r.fence + 1,
            lease_until = now() + make_interval(secs => :lease), due_at = now() + make_interval(secs => :lease),
            unanswered_claims = 1, attempts = {first_attempt}
        FROM picked WHERE r.id = ANY(:ids) AND r.id = picked.id
        RETURNING {columns}, r.version, r.merchant_id, r.store_id, r.attempts
    ), history AS (
        INSERT INTO {entity}_history{month} ({entity}_id, version, event, from_status, to_status, at, caller_type,
                                             caller_id, request_id)
        SELECT id, version, 'claim', 'pending', 'processing', now, 'worker', :worker, request_id FROM claimed
    ), attempt AS (
        INSERT INTO {entity}_attempts{month} ({entity}_id, number, merchant_id, store_id, provider, reference, sent_at)
        SELECT id, 1, merchant_id, store_id, provider, id || '\\:1', now FROM claimed WHERE attempts = 1
    )
    SELECT claimed.*, (SELECT pg_notify('{entity}s', string_agg(id || ':' || version, ' ')) FROM claimed)
    FROM claimed
"""

STARTED = """
    -- started: the rows that a start claimed whose answer was lost. No other claim has a lease of this length
    SELECT {columns}, r.store_id, r.processing_at FROM {entity}s r
    WHERE id = ANY(:ids) AND status = 'processing' AND lease_until = processing_at + make_interval(secs => :lease) AND (
        SELECT h.caller_id = :worker FROM {entity}_history h
        WHERE h.{entity}_id = r.id AND h.event = 'claim' AND h.at = r.processing_at)
"""

RESUME = """
    -- resume: rows that are processing, due and without a lease, together with their last attempts
    WITH picked AS (
        SELECT id FROM {entity}s{month} r
        WHERE id = ANY(:ids) AND status = 'processing' AND (due_at <= now() OR {due_ahead})
          AND (lease_until IS NULL OR lease_until <= now() OR {lease_ahead}) AND unanswered_claims <= :max_unanswered
          AND (provider <> ALL(CAST(:full AS text[])) OR ({unwanted} AND (
              -- A scalar by the row's own key: a cached plan of NOT EXISTS may read all attempts into a hash.
              SELECT coalesce(a.outcome, '') IN ({nothing_moved}) FROM {entity}_attempts{month} a
              WHERE a.{entity}_id = r.id AND a.number = r.attempts) IS NOT FALSE))
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE {entity}s{month} r
    SET fence = r.fence + 1, lease_until = now() + make_interval(secs => :lease),
        due_at = now() + make_interval(secs => :lease), unanswered_claims = r.unanswered_claims + 1
    FROM picked LEFT JOIN LATERAL (
        SELECT number, outcome, not_found_at, sum(resends) OVER () AS resends FROM {entity}_attempts{month} a
        WHERE a.{entity}_id = picked.id ORDER BY number DESC LIMIT 1
    ) last ON true
    WHERE r.id = ANY(:ids) AND r.id = picked.id
    RETURNING {columns}, r.store_id, last.number AS attempt_number, last.outcome AS attempt_outcome, last.not_found_at,
              last.resends
"""

UNCLAIMED = """
    -- unclaimed: due rows without a lease that were not claimed because there was no slot, or because they are poison
    -- candidates (claimed several times and never answered)
    SELECT id, provider, status = 'processing' AND unanswered_claims >= :candidate_from AS is_poison_candidate FROM {entity}s r
    WHERE id = ANY(:ids) AND ((status = 'pending' {startable}) OR (status = 'processing' AND (due_at <= now() OR {due_ahead})
          AND (lease_until IS NULL OR lease_until <= now() OR {lease_ahead})))
      AND (provider = ANY(CAST(:full AS text[])) OR (status = 'processing' AND unanswered_claims >= :candidate_from))
    ORDER BY id
"""

NEW_ATTEMPTS = """
    -- write ahead: the next attempt of rows whose last one certainly moved nothing
    WITH input AS (SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(id text, number integer)),
    counted AS (
        UPDATE {entity}s r SET attempts = i.number
        FROM input i WHERE r.id = ANY(ARRAY(SELECT id FROM input)) AND r.id = i.id
        RETURNING r.id, r.merchant_id, r.store_id, r.provider, i.number
    )
    INSERT INTO {entity}_attempts ({entity}_id, number, merchant_id, store_id, provider, reference, sent_at)
    SELECT id, number, merchant_id, store_id, provider, id || ':' || number, now() FROM counted
"""

RESENDS = """
    -- write ahead: the same reference is sent again. That overwrites the answer of the attempt, which is kept as a message
    WITH input AS (SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(id text, number integer)),
    first_answers AS (
        INSERT INTO {entity}_messages ({entity}_id, merchant_id, store_id, attempt, kind, answer, detail, at)
        SELECT a.{entity}_id, a.merchant_id, a.store_id, a.number, 'first_answer', a.outcome,
               jsonb_strip_nulls(jsonb_build_object('code', a.code, 'message', a.message)), a.answered_at
        FROM input i JOIN {entity}_attempts a ON a.{entity}_id = i.id AND a.number = i.number
        WHERE a.{entity}_id = ANY(ARRAY(SELECT id FROM input)) AND a.resends = 0 AND a.outcome = 'unavailable'
    )
    UPDATE {entity}_attempts a SET outcome = NULL, answered_at = NULL, not_found_at = NULL, resends = a.resends + 1
    FROM input i WHERE a.{entity}_id = ANY(ARRAY(SELECT id FROM input)) AND a.{entity}_id = i.id AND a.number = i.number
"""

# dead_letters is a table of a higher layer. One statement stops the row and stores its letter, so neither exists alone.
QUARANTINE = """
    -- quarantine: these rows are not claimed again until an operator requeues them
    WITH input AS (SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(id text, letter text)),
    stopped AS (
        UPDATE {entity}s r SET due_at = NULL, lease_until = NULL, needs_review = true, outcome_known = false,
               in_doubt_since = coalesce(r.in_doubt_since, now()), version = r.version + 1
        FROM input i WHERE r.id = ANY(ARRAY(SELECT id FROM input)) AND r.id = i.id
        RETURNING r.id, r.version, r.merchant_id, r.store_id, r.status, r.request_id, r.unanswered_claims, i.letter
    ), history AS (
        INSERT INTO {entity}_history ({entity}_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                      caller_type, caller_id, reason, request_id)
        SELECT id, version, merchant_id, store_id, 'request_review', status, status, clock_timestamp(), 'worker', :worker,
               'quarantined', request_id FROM stopped
    ), notified AS (SELECT pg_notify('{entity}s', id || ':' || version) FROM stopped)
    INSERT INTO dead_letters (id, task, arguments, entity_id, deliveries, reason, created_at)
    SELECT letter, '{entity}s.process', jsonb_build_array(jsonb_build_array(id)), id, unanswered_claims - 1,
           'its worker died or stopped answering each time it was claimed', now()
    FROM stopped, (SELECT count(*) FROM notified) AS t
"""

# Recording

INPUT_COLUMNS = """id text, fence integer, attempt integer, step text, event text, status text, due_in double precision,
            attempt_outcome text, code text, message text, outcome_known boolean, needs_review boolean,
            provider_reference text, not_found boolean, inquiries integer, answer text, fee bigint"""
"""The columns of the input for every answer (``recorder.common_columns``). ``due_in`` is in seconds."""

OUTCOME_COLUMNS = """provider_reference = coalesce(i.provider_reference, r.provider_reference),
            fee = CASE WHEN i.status = 'completed' THEN i.fee ELSE r.fee END,
            failure_code = CASE WHEN i.status = 'failed' OR i.needs_review THEN coalesce(i.code, r.failure_code) END,
            failure_message = CASE WHEN i.status = 'failed' OR i.needs_review THEN coalesce(i.message, r.failure_message) END,
            outcome_known = i.outcome_known,
            in_doubt_since = CASE WHEN i.outcome_known THEN NULL ELSE least(r.in_doubt_since, now()) END,
            lease_until = NULL, unanswered_claims = 0, needs_review = i.needs_review,
            completed_at = CASE WHEN i.status = 'completed' THEN now() END,
            failed_at = CASE WHEN i.status = 'failed' THEN now() END"""
"""The assignments that are the same for payments and refunds. They follow that of the status."""

HISTORY = """
        INSERT INTO {entity}_history{month} ({entity}_id, version, event, from_status, to_status, at, caller_type,
                                             caller_id, reason, request_id)
        -- clock_timestamp: the transaction may have waited for locks, and history is in the order of versions (I14).
        SELECT id, version, event, 'processing', status, clock_timestamp(), 'worker', :worker, code, request_id
        FROM recorded WHERE event IS NOT NULL
"""

ATTEMPTS = """
        UPDATE {entity}_attempts{month} a
        SET outcome = r.attempt_outcome, answered_at = now(), code = r.code, message = r.message,
            provider_reference = coalesce(r.provider_reference, a.provider_reference),
            not_found_at = CASE WHEN r.not_found THEN least(a.not_found_at, now()) END
        FROM recorded r
        WHERE a.{entity}_id = ANY({ids}) AND a.{entity}_id = r.id AND a.number = r.attempt AND r.attempt_outcome IS NOT NULL
"""
"""``{ids}`` is SQL for the ids of ``recorded`` as an array. Without it, a cached plan may read the whole table."""

MESSAGES = """
        INSERT INTO {entity}_messages ({entity}_id, merchant_id, store_id, attempt, kind, answer, detail, at)
        SELECT id, merchant_id, store_id, attempt,
               CASE step WHEN 'inquire' THEN 'inquiry' WHEN 'withdraw' THEN 'withdrawal' WHEN 'reverse' THEN 'reversal'
                   ELSE 'resend' END,
               answer, jsonb_strip_nulls(jsonb_build_object('code', code, 'message', message)), now()
        FROM recorded WHERE step IN ('inquire', 'withdraw', 'reverse', 'retry', 'resend')
"""

EVIDENCE = """
    -- evidence: an answer that came after another worker had taken over
    INSERT INTO {entity}_messages ({entity}_id, merchant_id, store_id, attempt, kind, answer, detail, at)
    SELECT r.id, r.merchant_id, r.store_id, i.attempt, {kind}, i.answer,
           jsonb_strip_nulls(jsonb_build_object('code', i.code, 'message', i.message,
               'provider_reference', i.provider_reference, 'fence', i.fence, 'worker', CAST(:worker AS text))), now()
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(
        id text, fence integer, attempt integer, status text, answer text, code text, message text,
        provider_reference text)
    JOIN LATERAL (SELECT id, merchant_id, store_id, fence, status FROM {entity}s WHERE id = i.id LIMIT 1) r
        ON r.fence <> i.fence OR r.status <> coalesce(i.status, r.status)
"""
"""``{kind}`` is an SQL expression for the kind of the message."""
