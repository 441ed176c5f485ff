"""Insert a reconciled settlement with its statement, the open settlement after it and the ledger, and break them."""

CONSTRAINTS = {
    "settlements": ("settlements_figures_when_closed", "settlements_net", "settlements_period_not_empty"),
    "settlement_lines": ("settlement_lines_sign",),
}

_GROUP = '"count": {0}, "gross": {1}, "refunds": 0, "fees": {2}, "adjustments": 0, "net": {3}'
_NOTHING = "{" + _GROUP.format(0, 0, 0, 0) + "}"
_BREAKDOWN = (
    '{"cash": %s, "qr": {"sandbox": {%s}}, "card": {}, "emoney": {}, "other": %s}'  # noqa: UP031 - braces abound
    % (_NOTHING, _GROUP.format(1, 1050, 34, 1016), _NOTHING)
)

PLANT = (
    "UPDATE payments SET fee = 34, settlement_id = 'stl_1' WHERE id = 'pay_1'",
    f"""INSERT INTO settlements (id, merchant_id, store_id, currency, business_date, start_at, end_at, time_zone, cut_off,
           status, version, line_count, gross_amount, refunds_amount, fees_amount, adjustments_amount, net_amount, breakdown,
           late_count, in_doubt_count, in_doubt_amount, cash_expected, created_at, closed_at, reconciled_at, reconciled_by)
       VALUES ('stl_1', 'mer_1', 'sto_1', 'JPY', now(), now() - interval '1 day', now() + interval '1 s', 'Asia/Tokyo',
               '00:00', 'reconciled', 3, 1, 1050, 0, 34, 0, 1016, '{_BREAKDOWN}', 0, 0, 0, 0, now(), now() + interval '2 s',
               now() + interval '3 s', 'w'),
           ('stl_2', 'mer_1', 'sto_1', 'JPY', now(), now() + interval '1 s', now() + interval '1 day', 'Asia/Tokyo',
               '00:00', 'open', 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, now(), NULL, NULL,
               NULL)""",
    """INSERT INTO settlement_history (settlement_id, version, merchant_id, store_id, event, from_status, to_status, at,
           caller_type, caller_id)
       VALUES ('stl_1', 1, 'mer_1', 'sto_1', 'create', NULL, 'open', now(), 'worker', 'w'),
           ('stl_1', 2, 'mer_1', 'sto_1', 'close', 'open', 'closed', now() + interval '2 s', 'worker', 'w'),
           ('stl_1', 3, 'mer_1', 'sto_1', 'reconcile', 'closed', 'reconciled', now() + interval '3 s', 'worker', 'w'),
           ('stl_2', 1, 'mer_1', 'sto_1', 'create', NULL, 'open', now(), 'worker', 'w')""",
    """INSERT INTO settlement_lines (settlement_id, kind, entity_id, merchant_id, store_id, payment_id, provider,
           our_reference, method_type, currency, amount, tip_amount, fee, occurred_at, business_date)
       VALUES ('stl_1', 'payment', 'pay_1', 'mer_1', 'sto_1', 'pay_1', 'sandbox', 'pay_1:1', 'qr', 'JPY', 1050, 50, 34, now(),
           now())""",
    """INSERT INTO statements (id, merchant_id, store_id, settlement_id, number, provider, source, format, mapping, sha256,
           size_bytes, line_count, created_at, created_by)
       VALUES ('stm_1', 'mer_1', 'sto_1', 'stl_1', 1, 'sandbox', 'api', 'csv', '{}', 'x', 1, 1, now(), 'w')""",
    """INSERT INTO statement_lines (statement_id, line_number, merchant_id, store_id, kind, is_settled, our_reference, amount,
           currency, fee)
       VALUES ('stm_1', 2, 'mer_1', 'sto_1', 'payment', true, 'pay_1:1', 1050, 'JPY', 34)""",
    """INSERT INTO reconciliation_runs (settlement_id, number, merchant_id, store_id, at, caller_type, caller_id,
           statement_ids, summary)
       VALUES ('stl_1', 1, 'mer_1', 'sto_1', now(), 'worker', 'w', '{stm_1}', '{}')""",
    """INSERT INTO ledger_accounts (id, merchant_id, kind, provider, currency, created_at)
       SELECT ledger_account_id('mer_1', kind, 'sandbox', 'JPY'), 'mer_1', kind, 'sandbox', 'JPY', now()
       FROM unnest(ARRAY['receivable', 'sales', 'tips', 'fees']) AS kind""",
    """INSERT INTO ledger_journals (id, merchant_id, store_id, kind, source_id, payment_id, currency, occurred_at, posted_at)
       VALUES ('jrn_1', 'mer_1', 'sto_1', 'completion', 'pay_1', 'pay_1', 'JPY', now(), now()),
           ('jrn_2', 'mer_1', 'sto_1', 'fee', 'pay_1', 'pay_1', 'JPY', now(), now())""",
    """INSERT INTO ledger_entries (journal_id, number, account_id, amount)
       SELECT journal, number, ledger_account_id('mer_1', kind, 'sandbox', 'JPY'), amount
       FROM (VALUES ('jrn_1', 1, 'receivable', 1050), ('jrn_1', 2, 'sales', -1000), ('jrn_1', 3, 'tips', -50),
           ('jrn_2', 1, 'fees', 34), ('jrn_2', 2, 'receivable', -34)) AS rows(journal, number, kind, amount)""",
    # An archived month with a payout, which no settlement has.
    """INSERT INTO ledger_accounts (id, merchant_id, kind, provider, currency, created_at)
       VALUES (ledger_account_id('mer_1', 'bank', 'sandbox', 'JPY'), 'mer_1', 'bank', 'sandbox', 'JPY', now())""",
    """INSERT INTO carried_balances (month, account_id, merchant_id, store_id, settlement_id, kind, amount, entries)
       SELECT '1999_01', ledger_account_id('mer_1', kind, 'sandbox', 'JPY'), 'mer_1', 'sto_1', '', 'payout', amount, 1
       FROM (VALUES ('bank', 700), ('receivable', -700)) AS rows(kind, amount)""",
    "INSERT INTO carried_refunds VALUES ('1999_01', 'mer_1', 'sto_1', 'JPY', 'sandbox', 0, 0)",
    """INSERT INTO archived_months (month, low, high, archived_at, archived_by, checksum, manifest)
       VALUES ('1999_01', 'a', 'b', now(), 'o', carried_checksum('1999_01'), '{}')""",
)

_CLOSED = "WHERE id = 'stl_1'"
CORRECTION = """INSERT INTO settlement_lines (settlement_id, kind, entity_id, merchant_id, store_id, provider, our_reference,
    currency, amount, occurred_at, business_date)
    VALUES ('stl_2', 'adjustment', 'adj_1', 'mer_1', 'sto_1', 'sandbox', '{reference}', 'JPY', 1050, now(), now())"""

_COMPLETION = """INSERT INTO carried_balances SELECT '1999_01', id, 'mer_1', 'sto_1', 'stl_1', 'completion', 5, 1
    FROM ledger_accounts WHERE kind = 'receivable'"""

PLANTED = (
    ("carried balances", "stl_1", _COMPLETION),
    ("carried balances", "stl_1", "UPDATE settlement_lines SET entity_id = 'pay_a1'"),
    ("carried sums", "sto_1", "UPDATE carried_balances SET amount = 701 WHERE amount = 700"),
    ("carried sums", "sto_1", "DELETE FROM ledger_accounts WHERE kind = 'bank'"),
    ("carried refunds", "sto_1", "UPDATE refunds SET payment_id = 'pay_a1'"),
    ("carried refunds", "sto_1", "UPDATE carried_refunds SET refunds = 1"),
    ("carried rows", "1999_01", "DELETE FROM carried_refunds"),
    ("carried rows", "1999_01", "DELETE FROM archived_months"),
    ("archived rows", "pay_1", "UPDATE archived_months SET low = '1', high = '2'"),
    ("settled as marked", "pay_1", "UPDATE payments SET settlement_id = NULL WHERE id = 'pay_1'"),
    ("settled as marked", "pay_1", "UPDATE payments SET settlement_id = 'stl_2' WHERE id = 'pay_1'"),
    ("settled as marked", "pay_1", "DELETE FROM settlement_lines"),
    ("settled as marked", "pay_1", "UPDATE settlement_lines SET amount = 1049"),
    ("settled as marked", "pay_9", "UPDATE settlement_lines SET entity_id = 'pay_9'"),
    ("lines in their own period", "pay_1", "UPDATE settlement_lines SET store_id = 'sto_2'"),
    ("lines in their own period", "pay_1", "UPDATE settlement_lines SET currency = 'USD'"),
    ("lines in their own period", "pay_1", "UPDATE settlement_lines SET settlement_id = 'stl_2'"),
    ("lines in their own period", "pay_1", "UPDATE settlement_lines SET occurred_at = now() + interval '1 s'"),
    (
        "nothing left behind",
        "pay_1",
        "UPDATE payments SET settlement_id = NULL, completed_at = now() - interval '25 hours' WHERE id = 'pay_1'",
    ),
    ("chain of periods", "stl_2", "UPDATE settlements SET start_at = start_at + interval '1 s' WHERE id = 'stl_2'"),
    ("chain of periods", "stl_2", "UPDATE settlements SET start_at = start_at - interval '1 s' WHERE id = 'stl_2'"),
    ("chain of periods", "stl_1", "DELETE FROM settlements WHERE id = 'stl_2'"),
    ("figures of a closed settlement", "stl_1", f"UPDATE settlements SET gross_amount = 1051, net_amount = 1017 {_CLOSED}"),
    ("figures of a closed settlement", "stl_1", f"UPDATE settlements SET late_count = 1 {_CLOSED}"),
    ("figures of a closed settlement", "stl_1", f"UPDATE settlements SET cash_expected = 1 {_CLOSED}"),
    ("figures of a closed settlement", "stl_1", "DELETE FROM settlement_lines"),
    ("breakdown of a closed settlement", "stl_1", "UPDATE settlement_lines SET method_type = 'card'"),
    (
        "breakdown of a closed settlement",
        "stl_1",
        f"UPDATE settlements SET breakdown = jsonb_set(breakdown, '{{cash,net}}', '5') {_CLOSED}",
    ),
    ("closed once", "stl_1", "UPDATE settlements SET closed_at = closed_at + interval '1 s' WHERE id = 'stl_1'"),
    ("closed once", "stl_1", "UPDATE settlements SET end_at = end_at + interval '2 s' WHERE id = 'stl_1'"),
    ("closed once", "stl_1", "DELETE FROM settlement_history WHERE event = 'close'"),
    ("balanced journals", "jrn_1", "UPDATE ledger_entries SET amount = -51 WHERE amount = -50"),
    ("balanced journals", "jrn_2", "DELETE FROM ledger_entries WHERE journal_id = 'jrn_2'"),
    ("balanced journals", "jrn_2", "DELETE FROM ledger_journals WHERE id = 'jrn_2'"),
    ("balanced journals", "jrn_1", "UPDATE ledger_accounts SET currency = 'USD' WHERE kind = 'tips'"),
    ("one journal for each movement", "pay_1", "UPDATE ledger_journals SET source_id = 'pay_2' WHERE kind = 'completion'"),
    ("one journal for each movement", "pay_2", "UPDATE ledger_journals SET source_id = 'pay_2' WHERE kind = 'completion'"),
    ("one journal for each movement", "pay_1", "UPDATE payments SET fee = 33 WHERE id = 'pay_1'"),
    ("one journal for each movement", "pay_1", "UPDATE ledger_journals SET kind = 'refund' WHERE kind = 'completion'"),
    ("settlements as in the ledger", "stl_1", "UPDATE ledger_entries SET amount = amount * 2"),
    ("settlements as in the ledger", "stl_1", f"UPDATE settlements SET net_amount = 1050, fees_amount = 0 {_CLOSED}"),
    ("legal edges of a settlement", "stl_1", "UPDATE settlement_history SET to_status = 'reconciled' WHERE event = 'close'"),
    ("counted versions of a settlement", "stl_1", "UPDATE settlements SET version = 4 WHERE id = 'stl_1'"),
    ("history of a settlement", "stl_1", "UPDATE settlement_history SET from_status = 'closed' WHERE event = 'close'"),
    ("provider's net", "sto_1 sandbox JPY", "UPDATE statement_lines SET amount = 1049"),
    ("provider's net", "sto_1 sandbox JPY", "UPDATE statement_lines SET fee = 33"),
    ("provider's net", "sto_1 sandbox JPY", "UPDATE statement_lines SET is_settled = false"),
    ("provider's net", "sto_1 sandbox JPY", "UPDATE statement_lines SET our_reference = 'pay_9:1'"),
    ("provider's net", "sto_1 sandbox JPY", CORRECTION.format(reference="pay_1:1")),
)  # fmt: skip
