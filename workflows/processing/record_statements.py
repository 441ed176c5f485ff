"""Define the parts that the recording statements of payments and refunds share. ``{entity}`` is filled in by each.

The statements name the columns of ``record.RecordRow``: ``i`` is the row to record, ``r`` the row that changes, ``moved`` the
rows whose fences held.
"""

INPUT_COLUMNS = """id text, fence integer, attempt integer, step text, event text, status text, due_in double precision,
            attempt_outcome text, code text, message text, outcome_known boolean, needs_review boolean,
            provider_reference text, not_found boolean, inquiries integer, answer text, fee bigint"""
"""What is known of every answer; ``due_in`` is in seconds."""

OUTCOME = """provider_reference = coalesce(i.provider_reference, r.provider_reference),
            fee = CASE WHEN i.status = 'completed' THEN i.fee ELSE r.fee END,
            failure_code = CASE WHEN i.status = 'failed' OR i.needs_review THEN coalesce(i.code, r.failure_code) END,
            failure_message = CASE WHEN i.status = 'failed' OR i.needs_review THEN coalesce(i.message, r.failure_message) END,
            outcome_known = i.outcome_known,
            in_doubt_since = CASE WHEN i.outcome_known THEN NULL ELSE least(r.in_doubt_since, now()) END,
            lease_until = NULL, unanswered_claims = 0, needs_review = i.needs_review,
            completed_at = CASE WHEN i.status = 'completed' THEN now() END,
            failed_at = CASE WHEN i.status = 'failed' THEN now() END"""
"""The columns that an answer sets in the same way for both entities, after the new status."""

HISTORY = """
        INSERT INTO {entity}_history ({entity}_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                      caller_type, caller_id, reason, request_id)
        -- clock_timestamp: the transaction may have waited for locks, and history is in the order of versions (I14).
        SELECT id, version, merchant_id, store_id, event, 'processing', status, clock_timestamp(), 'worker', :worker, code,
               request_id
        FROM moved WHERE event IS NOT NULL
"""

ATTEMPTS = """
        UPDATE {entity}_attempts a
        SET outcome = m.attempt_outcome, answered_at = now(), code = m.code, message = m.message,
            provider_reference = coalesce(m.provider_reference, a.provider_reference),
            not_found_at = CASE WHEN m.not_found THEN least(a.not_found_at, now()) END
        FROM moved m
        WHERE a.{entity}_id = ANY({ids}) AND a.{entity}_id = m.id AND a.number = m.attempt AND m.attempt_outcome IS NOT NULL
"""
"""``{ids}``: the ids once more as an array, or a cached plan may read the whole table."""

MESSAGES = """
        INSERT INTO {entity}_messages ({entity}_id, merchant_id, store_id, attempt, kind, answer, detail, at)
        SELECT id, merchant_id, store_id, attempt,
               CASE step WHEN 'inquire' THEN 'inquiry' WHEN 'withdraw' THEN 'withdrawal' WHEN 'reverse' THEN 'reversal'
                   ELSE 'resend' END,
               answer, jsonb_strip_nulls(jsonb_build_object('code', code, 'message', message)), now()
        FROM moved WHERE step IN ('inquire', 'withdraw', 'reverse', 'retry', 'resend')
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
"""``{kind}``: an SQL expression for the kind of the message."""
