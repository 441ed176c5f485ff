"""Insert completed payments by SQL, as the product leaves them, a tenth of them partly refunded.

Triggers are disabled while the rows are inserted, because they refuse rows that begin as completed, and are enabled before
anything is measured. The physical order is that of the ids, as it is after recording payments one by one.
"""

from typing import Any

import psycopg

_TENANT = """
    INSERT INTO psps (id, name) VALUES ('psp_bench', 'Bench') ON CONFLICT DO NOTHING;
    INSERT INTO merchants VALUES ('mer_bench', 'psp_bench', 'Bench', now(), now()) ON CONFLICT DO NOTHING;
"""
_STORES = """
    INSERT INTO stores (id, merchant_id, name, currency, time_zone, cut_off, created_at, updated_at)
    SELECT concat('sto_', CAST(%(run)s AS text), '_', lpad(n::text, 6, '0')), 'mer_bench', 'Bench', 'JPY', 'Asia/Tokyo',
           '00:00', now() - interval '1 day', now() - interval '1 day'
    FROM generate_series(1, %(stores)s) AS n
"""
_PAYMENTS = """
    INSERT INTO payments (id, merchant_id, store_id, device_id, status, version, amount, tip_amount, currency, captured_amount,
        refunded_amount, refund_reserved, fee, method_type, method_mode, processing_mode, provider, provider_reference,
        card_brand, client_reference, expires_at, created_at, processing_at, completed_at, refunded_at, attempts, fence,
        request_id)
    SELECT concat('pay_', CAST(%(run)s AS text), lpad(s.n::text, 6, '0'), lpad(to_hex(i), 20, '0')), 'mer_bench', s.id,
           'dev_bench', CASE WHEN i %% 10 = 0 THEN 'refunded' ELSE 'completed' END, CASE WHEN i %% 10 = 0 THEN 4 ELSE 3 END,
           1000 + i %% 977, 0, 'JPY', 1000 + i %% 977, CASE WHEN i %% 10 = 0 THEN 300 ELSE 0 END,
           CASE WHEN i %% 10 = 0 THEN 300 ELSE 0 END, CASE i %% 3 WHEN 0 THEN 32 ELSE 0 END,
           (ARRAY['qr', 'cash', 'card'])[1 + i %% 3], CASE i %% 3 WHEN 0 THEN 'cpm' END,
           (ARRAY['provider', 'manual', 'external'])[1 + i %% 3], (ARRAY['sandbox', 'cash', 'external'])[1 + i %% 3],
           CASE i %% 3 WHEN 0 THEN 'sbx_' || translate(md5(i::text), '0123456789', 'ghijklmnop') END,
           CASE WHEN i %% 3 = 2 THEN (ARRAY['visa', 'mastercard', 'jcb'])[1 + i %% 7 %% 3] END,
           concat_ws('/', 'till', CAST(%(run)s AS text), s.n, i), d.at + interval '5 min', d.at, d.at,
           d.at + interval '50 ms', CASE WHEN i %% 10 = 0 THEN d.at + interval '1 min' END, 1, 1, 'req_bench'
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM stores
          WHERE id LIKE concat('sto_', CAST(%(run)s AS text), '_%%')) s
    CROSS JOIN generate_series(1, %(payments)s) AS i
    CROSS JOIN LATERAL (SELECT date_trunc('day', now() AT TIME ZONE 'Asia/Tokyo') AT TIME ZONE 'Asia/Tokyo' - interval '1 day'
                        + interval '23 hours' * i / %(payments)s AS at) d
"""
_REFUNDS = """
    INSERT INTO refunds (id, merchant_id, store_id, payment_id, status, version, amount, currency, reason, staff_code,
        provider, attempts, fence, created_at, processing_at, completed_at)
    SELECT 'rfd' || substr(id, 4), merchant_id, store_id, id, 'completed', 3, 300, currency, 'bench', 's1', provider, 1, 1,
           refunded_at, refunded_at, refunded_at
    FROM payments WHERE refunded_amount > 0 AND store_id LIKE concat('sto_', CAST(%(run)s AS text), '_%%')
"""
_UNSETTLED = """
    INSERT INTO unsettled_{entity}s SELECT store_id, currency, completed_at, id FROM {entity}s
    WHERE completed_at IS NOT NULL AND settlement_id IS NULL AND store_id LIKE concat('sto_', CAST(%(run)s AS text), '_%%')
"""
_LISTED = tuple(_UNSETTLED.format(entity=entity) for entity in ("payment", "refund"))


def create_payments(address: str, *, run: str, stores: int, payments: int) -> None:
    """Create ``stores`` stores that opened yesterday, with ``payments`` payments each.

    The stores' ids begin with ``sto_{run}_``.
    """
    values: dict[str, Any] = {"run": run, "stores": stores, "payments": payments}
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(_TENANT)
        for statement in (_STORES, _PAYMENTS, _REFUNDS, *_LISTED) if payments else (_STORES,):
            connection.execute(statement, values)
        connection.execute("SET session_replication_role = origin")
        connection.execute("ANALYZE payments, refunds, unsettled_payments, unsettled_refunds, stores")
        connection.execute("CHECKPOINT")
