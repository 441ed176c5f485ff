"""The statements of the rival, each one round trip: what belongs together is written by one statement.

A statement is a transaction of its own (autocommit), so nothing is sent for BEGIN and COMMIT.
"""

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.rivals.tables import DATABASE_URL


def connect(*, pool_size: int) -> AsyncEngine:
    """Return an engine with at most ``pool_size`` connections in autocommit."""
    return create_async_engine(DATABASE_URL, pool_size=pool_size, max_overflow=0, isolation_level="AUTOCOMMIT")


LOOK_UP: TextClause = text("""
    SELECT d.merchant_id, d.store_id, d.status, r.fingerprint, r.body
    FROM devices d LEFT JOIN idempotency_records r ON r.merchant_id = d.merchant_id AND r.key = :key
    WHERE d.id = :device_id
""")

ACCEPT: TextClause = text("""
    WITH payment AS (
        INSERT INTO payments (id, merchant_id, store_id, device_id, status, version, amount, currency, method,
                              client_reference, details, created_at)
        VALUES (:id, :merchant_id, :store_id, :device_id, 'pending', 1, :amount, :currency, CAST(:method AS jsonb),
                :client_reference, CAST(:details AS jsonb), :at)
    ), history AS (
        INSERT INTO payment_history (payment_id, version, to_status, at) VALUES (:id, 1, 'pending', :at)
    )
    INSERT INTO idempotency_records (merchant_id, key, fingerprint, body, created_at)
    VALUES (:merchant_id, :key, :fingerprint, :body, :at)
""")

CLAIM: TextClause = text("""
    WITH claimed AS (
        UPDATE payments SET status = 'processing', version = version + 1, processing_at = :at
        WHERE id = :id AND status = 'pending'
        RETURNING id, version, amount, currency, details
    ), history AS (
        INSERT INTO payment_history (payment_id, version, from_status, to_status, at)
        SELECT id, version, 'pending', 'processing', :at FROM claimed
    ), attempt AS (
        INSERT INTO payment_attempts (payment_id, number, reference, sent_at)
        SELECT id, 1, :reference, :at FROM claimed
    )
    SELECT amount, currency, details FROM claimed
""")
"""Without a row the payment was claimed before; the attempt is in the database before the provider is called."""

IS_PROCESSING: TextClause = text("SELECT FROM payments WHERE id = :id AND status = 'processing'")

RECORD: TextClause = text("""
    WITH recorded AS (
        UPDATE payments
        SET status = CAST(:status AS varchar), version = version + 1, provider_reference = :provider_reference,
            failure_code = :failure_code,
            completed_at = CASE WHEN CAST(:status AS varchar) = 'completed' THEN CAST(:at AS timestamptz) END,
            failed_at = CASE WHEN CAST(:status AS varchar) = 'failed' THEN CAST(:at AS timestamptz) END
        WHERE id = :id AND status = 'processing'
        RETURNING id, version
    ), history AS (
        INSERT INTO payment_history (payment_id, version, from_status, to_status, at)
        SELECT id, version, 'processing', CAST(:status AS varchar), CAST(:at AS timestamptz) FROM recorded
    )
    UPDATE payment_attempts a SET answered_at = CAST(:at AS timestamptz), outcome = :outcome
    FROM recorded WHERE a.payment_id = recorded.id AND a.number = 1
""")
