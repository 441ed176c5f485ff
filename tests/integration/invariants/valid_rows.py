"""Insert valid rows, and drop what would refuse invalid ones, by raw SQL as the owner of the database.

Everything happens in a transaction that is rolled back.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.integration.invariants import valid_settlements

CONSTRAINTS = {
    "payments": ("payments_refunds_within_captured", "payments_known_when_final", "payments_captured_when_completed"),
    "refunds": ("refunds_known_when_final",),
    "bills": ("bills_within_total", "bills_amounts", "bills_refunded_when_paid", "bills_status_tells_amounts"),
    "payment_attempts": ("payment_attempts_reference_derived",),
    "refund_attempts": ("refund_attempts_reference_derived",),
    **valid_settlements.CONSTRAINTS,
}

_PLANT = (
    """INSERT INTO payments (id, merchant_id, store_id, status, version, amount, tip_amount, currency, captured_amount,
           method_type, method_mode, processing_mode, provider, client_reference, expires_at, created_at, processing_at,
           completed_at, attempts)
       VALUES ('pay_1', 'mer_1', 'sto_1', 'completed', 3, 1000, 50, 'JPY', 1050, 'qr', 'cpm', 'provider', 'sandbox', 'till-1',
           now() + interval '5 min', now(), now(), now(), 1)""",
    """INSERT INTO payments (id, merchant_id, store_id, status, version, amount, currency, method_type, processing_mode,
           provider, expires_at, created_at, due_at)
       VALUES ('pay_2', 'mer_1', 'sto_1', 'pending', 1, 700, 'JPY', 'cash', 'manual', 'cash', now() + interval '5 min', now(),
           now())""",
    """INSERT INTO payments (id, merchant_id, store_id, status, version, amount, currency, method_type, processing_mode,
           provider, expires_at, created_at, failed_at, failure_code)
       VALUES ('pay_3', 'mer_1', 'sto_1', 'failed', 3, 800, 'JPY', 'card', 'provider', 'sandbox', now() + interval '5 min',
           now(), now(), 'declined')""",
    """INSERT INTO payment_history (payment_id, version, merchant_id, store_id, event, from_status, to_status, at, caller_type,
           caller_id)
       SELECT id, version, 'mer_1', 'sto_1', event, source, target, now() + make_interval(secs => version), 'worker', 'w'
       FROM (VALUES ('pay_1', 1, 'create', NULL, 'pending'), ('pay_1', 2, 'claim', 'pending', 'processing'),
           ('pay_1', 3, 'complete', 'processing', 'completed'), ('pay_2', 1, 'create', NULL, 'pending'),
           ('pay_3', 1, 'create', NULL, 'pending'), ('pay_3', 2, 'claim', 'pending', 'processing'),
           ('pay_3', 3, 'fail', 'processing', 'failed')) AS rows(id, version, event, source, target)""",
    """INSERT INTO payment_attempts (payment_id, number, merchant_id, store_id, provider, reference, sent_at, answered_at,
           outcome)
       VALUES ('pay_1', 1, 'mer_1', 'sto_1', 'sandbox', 'pay_1:1', now(), now(), 'succeeded'),
           ('pay_3', 1, 'mer_1', 'sto_1', 'sandbox', 'pay_3:1', now(), now(), 'declined')""",
    """INSERT INTO idempotency_records (merchant_id, method, path, key, caller, fingerprint, status, body, resource_id,
           created_at, expires_at)
       SELECT merchant_id, 'POST', '/api/v1/payments', 'key of ' || id, 'worker w', 'f', 201,
           format('{"id":"%s","status":"pending","version":1,"amount":%s,"currency":"%s"}', id, amount, currency), id,
           now(), now() + interval '1 day'
       FROM payments""",
    """INSERT INTO refunds (id, merchant_id, store_id, payment_id, status, version, amount, currency, reason, staff_code,
           provider, created_at, due_at, failed_at)
       VALUES ('rfd_1', 'mer_1', 'sto_1', 'pay_1', 'pending', 1, 300, 'JPY', 'broken', 's1', 'sandbox', now(), now(), NULL),
           ('rfd_2', 'mer_1', 'sto_1', 'pay_1', 'failed', 3, 200, 'JPY', 'late', 's1', 'sandbox', now(), NULL, now())""",
    """INSERT INTO refund_history (refund_id, version, merchant_id, store_id, event, from_status, to_status, at, caller_type,
           caller_id)
       SELECT id, version, 'mer_1', 'sto_1', event, source, target, now() + make_interval(secs => version), 'worker', 'w'
       FROM (VALUES ('rfd_1', 1, 'create', NULL, 'pending'), ('rfd_2', 1, 'create', NULL, 'pending'),
           ('rfd_2', 2, 'claim', 'pending', 'processing'), ('rfd_2', 3, 'fail', 'processing', 'failed'))
           AS rows(id, version, event, source, target)""",
    """INSERT INTO refund_attempts (refund_id, number, merchant_id, store_id, provider, reference, sent_at, answered_at,
           outcome)
       VALUES ('rfd_2', 1, 'mer_1', 'sto_1', 'sandbox', 'rfd_2:1', now(), now(), 'unavailable'),
           ('rfd_2', 2, 'mer_1', 'sto_1', 'sandbox', 'rfd_2:2', now(), now(), 'declined')""",
    "UPDATE payments SET refund_reserved = 300 WHERE id = 'pay_1'",
    """INSERT INTO orders (id, merchant_id, store_id, order_number, order_type, status, version, currency, subtotal,
           tax_amount, discount_amount, total_amount, created_at, updated_at)
       VALUES ('ord_1', 'mer_1', 'sto_1', '20260128-0001', 'dine_in', 'open', 2, 'JPY', 2400, 100, 0, 2500, now(), now())""",
    """INSERT INTO order_history (order_id, version, merchant_id, store_id, event, from_status, to_status, at, caller_type,
           caller_id)
       VALUES ('ord_1', 1, 'mer_1', 'sto_1', 'create', NULL, 'draft', now(), 'device', 'd'),
           ('ord_1', 2, 'mer_1', 'sto_1', 'submit', 'draft', 'open', now(), 'device', 'd')""",
    """INSERT INTO bills (id, merchant_id, store_id, bill_number, parent_bill_id, status, version, currency, subtotal,
           tax_amount, discount_amount, total_amount, paid_amount, reserved_amount, paid_at, voided_at, created_at, updated_at)
       VALUES ('bil_1', 'mer_1', 'sto_1', '20260128-0001', NULL, 'voided', 2, 'JPY', 2400, 100, 0, 2500, 0, 0, NULL, now(),
               now(), now()),
           ('bil_2', 'mer_1', 'sto_1', '20260128-0002', 'bil_1', 'paid', 3, 'JPY', 960, 40, 0, 1000, 1000, 0, now(), NULL,
               now(), now()),
           ('bil_3', 'mer_1', 'sto_1', '20260128-0003', 'bil_1', 'unpaid', 4, 'JPY', 1440, 60, 0, 1500, 0, 700, NULL, NULL,
               now(), now())""",
    """INSERT INTO bill_orders (bill_id, order_id, merchant_id, store_id)
       SELECT id, 'ord_1', merchant_id, store_id FROM bills""",
    """INSERT INTO bill_history (bill_id, version, merchant_id, store_id, event, from_status, to_status, at, caller_type,
           caller_id, reason)
       SELECT id, version, 'mer_1', 'sto_1', event, source, target, now() + make_interval(secs => version), 'worker', 'w',
           reason
       FROM (VALUES ('bil_1', 1, 'create', NULL, 'unpaid', NULL), ('bil_1', 2, 'void', 'unpaid', 'voided', 'split'),
           ('bil_2', 1, 'create', NULL, 'unpaid', NULL), ('bil_2', 2, 'reserve', 'unpaid', 'unpaid', 'pay_1'),
           ('bil_2', 3, 'pay_whole', 'unpaid', 'paid', 'pay_1'),
           ('bil_3', 1, 'create', NULL, 'unpaid', NULL), ('bil_3', 2, 'reserve', 'unpaid', 'unpaid', 'pay_2'),
           ('bil_3', 3, 'reserve', 'unpaid', 'unpaid', 'pay_3'), ('bil_3', 4, 'release', 'unpaid', 'unpaid', 'pay_3'))
           AS rows(id, version, event, source, target, reason)""",
    """UPDATE payments SET bill_id = CASE id WHEN 'pay_1' THEN 'bil_2' ELSE 'bil_3' END, order_id = 'ord_1'""",
    """INSERT INTO devices (id, merchant_id, store_id, serial_number, name, model, status, version, created_at)
       VALUES ('dev_1', 'mer_1', 'sto_1', 'S-1', 'Till', 'Air', 'pending_activation', 1, now())""",
    """INSERT INTO device_history (device_id, version, merchant_id, store_id, event, to_status, at, caller_type, caller_id)
       VALUES ('dev_1', 1, 'mer_1', 'sto_1', 'create', 'pending_activation', now(), 'user', 'u')""",
)

_LISTED = tuple(
    statement.format(entity=entity)
    for entity in ("payment", "refund")
    for statement in (
        "INSERT INTO due_{entity}s SELECT id, due_at FROM {entity}s WHERE due_at IS NOT NULL",
        """INSERT INTO unsettled_{entity}s SELECT store_id, currency, completed_at, id FROM {entity}s
           WHERE completed_at IS NOT NULL AND settlement_id IS NULL""",
        """INSERT INTO {entity}_references SELECT provider_reference, id FROM {entity}s
           WHERE provider_reference IS NOT NULL""",
    )
)
"""The narrow tables, which triggers fill elsewhere: here they are disabled."""


async def insert_valid_rows(connection: AsyncConnection) -> None:
    """Insert valid rows, as the product writes them.

    They are a completed, a pending and a failed payment, a refund in progress, an order whose bill was split for these
    payments, and a device.
    """
    await run(connection, *_PLANT, *valid_settlements.PLANT, *_LISTED)


async def drop_constraints(connection: AsyncConnection) -> None:
    """Drop every constraint and trigger that would refuse an invalid row.

    The rules have to find such a row without them.
    """
    await run(connection, "SET LOCAL session_replication_role = replica")  # disables triggers and foreign keys
    for table, names in CONSTRAINTS.items():
        for name in names:
            await run(connection, f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    await run(connection, "ALTER TABLE payment_client_references DROP CONSTRAINT payments_client_reference_key")


async def run(connection: AsyncConnection, *statements: str) -> None:
    """Run raw SQL, in which a colon is not a parameter."""
    for statement in statements:
        await connection.execute(text(statement.replace(":", "\\:")))
