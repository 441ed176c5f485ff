"""The statements that create the rows of ``create_data``; ``{payments}`` and the like are numbers of rows."""

FUNCTIONS = """
    -- The id of the row that was created at ``at``: a UUIDv7 of that time, whose other digits are a hash of the row's number.
    CREATE FUNCTION pg_temp.id_at(prefix text, at timestamptz, number bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT prefix || '_' || lpad(to_hex(floor(extract(epoch FROM at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || '7'
               || substr(md5(number::text), 1, 3) || '8' || substr(md5(number::text), 4, 15)
    $$;
    -- A number from 0 up to 1 that depends on ``number`` and ``kind`` only.
    CREATE FUNCTION pg_temp.chance(number bigint, kind int) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
        SELECT (hashint8extended(number, kind) & 1048575) / 1048576.0::float8
    $$;
    CREATE FUNCTION pg_temp.store_of(number bigint) RETURNS int LANGUAGE sql IMMUTABLE AS $$
        SELECT floor({stores} * pg_temp.chance(number, 1) ^ 2)::int
    $$;
    CREATE FUNCTION pg_temp.merchant_of(store int) RETURNS int LANGUAGE sql IMMUTABLE AS $$
        SELECT floor({merchants} * (store::float8 / {stores}) ^ 2)::int
    $$;
    CREATE FUNCTION pg_temp.made_at(number bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT now() - interval '1 day' * {days} * (1 - number::float8 / {payments})
    $$;
"""

TENANTS = """
    INSERT INTO psps SELECT 'psp_' || n, 'PSP ' || n, now() FROM generate_series(0, {psps} - 1) n;
    INSERT INTO merchants (id, psp_id, name, created_at, updated_at)
    SELECT 'mer_' || n, 'psp_' || n * {psps} / {merchants}, 'Merchant ' || n, now(), now()
    FROM generate_series(0, {merchants} - 1) n;
    INSERT INTO stores (id, merchant_id, name, currency, time_zone, cut_off, created_at, updated_at)
    SELECT 'sto_' || n, 'mer_' || pg_temp.merchant_of(n), 'Store ' || n, 'JPY', 'Asia/Tokyo', '00:00', now(), now()
    FROM generate_series(0, {stores} - 1) n;
    INSERT INTO devices (id, merchant_id, store_id, serial_number, client_id, public_key_pem, name, model, status, version,
                         created_at)
    SELECT 'dev_' || n || '_' || d, 'mer_' || pg_temp.merchant_of(n), 'sto_' || n, n || '-' || d, 'cli_' || n || '_' || d, 'x',
           'Till', 'x', 'active', 1, now()
    FROM generate_series(0, {stores} - 1) n, generate_series(1, 2) d;
"""

PAYMENTS = """
    INSERT INTO payments (
        id, merchant_id, store_id, device_id, bill_id, order_id, settlement_id, status, version, amount, currency,
        captured_amount, refunded_amount, refund_reserved, fee, method_type, method_mode, processing_mode, provider,
        provider_reference, card_brand, card_last_4, client_reference, metadata, outcome_known, in_doubt_since, needs_review,
        due_at, request_id, expires_at, created_at, processing_at, completed_at)
    SELECT pg_temp.id_at('pay', at, n), 'mer_' || pg_temp.merchant_of(store), 'sto_' || store,
           'dev_' || store || '_' || 1 + n % 2,
           CASE WHEN n % 10 < 3 THEN pg_temp.id_at('bil', at - interval '1 min', n) END,
           CASE WHEN n % 10 < 3 THEN pg_temp.id_at('ord', at - interval '30 min', n) END,
           CASE WHEN captured AND n < {payments} * 0.99 THEN 'stl_' || store || '_' || n * {days} / {payments} END,
           status, CASE status WHEN 'pending' THEN 1 WHEN 'processing' THEN 2 WHEN 'refunded' THEN 4 ELSE 3 END, amount, 'JPY',
           CASE WHEN captured THEN amount ELSE 0 END,
           CASE WHEN status = 'refunded' THEN amount WHEN captured AND n % 20 = 0 THEN 1 ELSE 0 END,
           CASE WHEN status = 'refunded' THEN amount WHEN captured AND n % 20 = 0 THEN 1 ELSE 0 END,
           0, CASE WHEN card THEN 'card' WHEN cash THEN 'cash' ELSE 'qr' END, CASE WHEN card OR cash THEN NULL ELSE 'cpm' END,
           CASE WHEN cash THEN 'manual' ELSE 'provider' END, CASE WHEN cash THEN 'cash' ELSE 'sandbox' END,
           CASE WHEN captured AND NOT cash THEN 'sbx_' || translate(md5(n::text), '0123456789', 'ghijklmnop') END,
           CASE WHEN card THEN 'visa' END, CASE WHEN card THEN lpad((hashint8(n) & 8191)::text, 4, '0') END,
           'r-' || n, '{{}}', in_doubt IS NULL, in_doubt, n % 50000 = 7 OR in_doubt IS NOT NULL,
           CASE WHEN status IN ('pending', 'processing') THEN now() + interval '1 hour' END, 'req_' || n,
           at + interval '5 min', at, CASE WHEN status <> 'pending' THEN at END, CASE WHEN captured THEN at END
    FROM (
        SELECT *, status IN ('completed', 'refunded') AS captured,
               CASE WHEN status = 'processing' AND n % 7 = 0 THEN at END AS in_doubt
        FROM (
            SELECT n, pg_temp.made_at(n) AS at, pg_temp.store_of(n) AS store,
                   100 + floor(20000 * pg_temp.chance(n, 2) ^ 3)::bigint AS amount,
                   pg_temp.chance(n, 3) < 0.4 AS card, pg_temp.chance(n, 3) >= 0.9 AS cash,
                   CASE WHEN n > {payments} - 200 THEN 'pending' WHEN n > {payments} - 400 OR n % 100000 = 99 THEN 'processing'
                        WHEN n % 100 = 0 THEN 'refunded' WHEN pg_temp.chance(n, 4) < 0.93 THEN 'completed'
                        WHEN pg_temp.chance(n, 4) < 0.97 THEN 'failed' ELSE 'cancelled' END AS status
            FROM generate_series(1, {payments}) n) made) decided
"""

REFUNDS = """
    INSERT INTO refunds (id, merchant_id, store_id, payment_id, settlement_id, status, version, amount, currency, reason,
                         staff_code, provider, provider_reference, needs_review, needs_action, created_at, completed_at)
    SELECT pg_temp.id_at('rfd', p.created_at + interval '20 min', n), p.merchant_id, p.store_id, p.id, p.settlement_id,
           CASE WHEN n % 500 = 3 THEN 'failed' ELSE 'completed' END, 3, p.refund_reserved, 'JPY', 'x', 'x', p.provider,
           'sbr_' || n, n % 5000 = 7, false, p.created_at + interval '20 min', p.created_at + interval '20 min'
    FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM payments WHERE refund_reserved > 0) p
"""

ORDERS = """
    INSERT INTO orders (id, merchant_id, store_id, device_id, order_number, order_type, table_number, status, version,
                        currency, subtotal, tax_amount, discount_amount, total_amount, created_at, updated_at)
    SELECT order_id, merchant_id, store_id, device_id, 'O' || right(client_reference, -2), 'dine_in',
           'T' || (hashtext(order_id) & 31), CASE WHEN hashtext(order_id) & 31 = 0 THEN 'cancelled' ELSE 'completed' END,
           3, 'JPY', amount, 0, 0, amount, created_at - interval '30 min', created_at
    FROM payments WHERE order_id IS NOT NULL ORDER BY id;
    INSERT INTO order_items (id, order_id, merchant_id, store_id, position, name, quantity, unit_price, tax_rate, subtotal)
    SELECT replace(id, 'ord_', 'itm_') || k, id, merchant_id, store_id, k, 'Ramen', 1, 100, 0, 100
    FROM orders, generate_series(1, 2) k;
    INSERT INTO bills (id, merchant_id, store_id, bill_number, status, version, currency, subtotal, tax_amount,
                       discount_amount, total_amount, paid_amount, paid_at, created_at, updated_at)
    SELECT bill_id, merchant_id, store_id, 'B' || right(client_reference, -2), CASE WHEN captured_amount > 0 THEN 'paid'
           ELSE 'unpaid' END, 2, 'JPY', amount, 0, 0, amount, captured_amount, completed_at, created_at - interval '1 min',
           created_at
    FROM payments WHERE bill_id IS NOT NULL ORDER BY id;
    INSERT INTO bill_orders (bill_id, order_id, merchant_id, store_id)
    SELECT bill_id, order_id, merchant_id, store_id FROM payments WHERE bill_id IS NOT NULL;
"""

SETTLEMENTS = """
    INSERT INTO settlements (id, merchant_id, store_id, currency, business_date, start_at, end_at, time_zone, cut_off, status,
                             version, line_count, gross_amount, refunds_amount, fees_amount, adjustments_amount, net_amount,
                             breakdown, late_count, in_doubt_count, in_doubt_amount, cash_expected, created_at, closed_at,
                             reconciled_at, reconciled_by)
    SELECT pg_temp.id_at('stl', at, store * 1000 + day), 'mer_' || pg_temp.merchant_of(store), 'sto_' || store, 'JPY',
           at::date, at, at + interval '1 day', 'Asia/Tokyo', '00:00',
           CASE WHEN store % 20 = 0 THEN 'closed' ELSE 'reconciled' END, 3,
           0, 0, 0, 0, 0, 0, '{{}}', 0, 0, 0, 0, at, at + interval '1 day',
           CASE WHEN store % 20 > 0 THEN now() END, CASE WHEN store % 20 > 0 THEN 'x' END
    FROM generate_series(0, {days} - 1) day, generate_series(0, {stores} - 1) store,
         LATERAL (SELECT now() - interval '1 day' * ({days} - day) AS at) t
"""

JOURNALS = """
    INSERT INTO ledger_journals (id, merchant_id, store_id, kind, source_id, payment_id, currency, occurred_at, posted_at)
    SELECT replace(id, 'pay_', 'jrn_'), merchant_id, store_id, 'completion', id, id, 'JPY', created_at, created_at
    FROM payments WHERE captured_amount > 0 AND hashtext(id) % 5 = 0 ORDER BY id;
    INSERT INTO ledger_entries (journal_id, number, account_id, amount)
    SELECT id, k, ledger_account_id(merchant_id, CASE k WHEN 1 THEN 'cash' ELSE 'sales' END, '', 'JPY'),
           CASE k WHEN 1 THEN 1 ELSE -1 END
    FROM ledger_journals, generate_series(1, 2) k;
"""

STATEMENTS = (FUNCTIONS, TENANTS, PAYMENTS, REFUNDS, ORDERS, SETTLEMENTS, JOURNALS)

FILLED_ONLY_IF_PRESENT = {
    "due_payments": "INSERT INTO due_payments SELECT id, due_at FROM payments WHERE due_at IS NOT NULL",
    "payment_references": """
        INSERT INTO payment_references (provider_reference, id)
        SELECT provider_reference, id FROM payments WHERE provider_reference IS NOT NULL
    """,
    "refund_references": """
        INSERT INTO refund_references (provider_reference, id)
        SELECT provider_reference, id FROM refunds WHERE provider_reference IS NOT NULL
    """,
}
"""Narrow tables that triggers fill in later releases of the schema, as SQL that fills them here."""
