"""Each invariant reports the violation it was written for, and none reports valid rows."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from mpac.stack.local_stack import LocalStack
from tests.harness import clone_of_template
from tests.integration.invariants import valid_settlements
from tests.integration.invariants.valid_rows import drop_constraints, insert_valid_rows, run
from workflows.invariants.check import check
from workflows.invariants.rule import Finding
from workflows.invariants.rules import RULES

COMPLETED, PENDING, FAILED = ("WHERE id = 'pay_1'", "WHERE id = 'pay_2'", "WHERE id = 'pay_3'")
PART = "WHERE id = 'bil_3'"
AWAY = "status = 'processing', version = 2, due_at = NULL"

SECOND = (
    "INSERT INTO payment_attempts (payment_id, number, merchant_id, store_id, provider, reference, sent_at, outcome)"
    " VALUES ('pay_1', 2, 'mer_1', 'sto_1', 'sandbox', 'pay_1:2', now(), 'succeeded')"
)

BILL_HISTORY = (
    "INSERT INTO bill_history (bill_id, version, event, from_status, to_status, reason, merchant_id, store_id, at,"
    " caller_type, caller_id) SELECT *, 'mer_1', 'sto_1', now() + interval '1 min', 'worker', 'w' FROM (VALUES"
)

BESIDE_ITSELF = """
    INSERT INTO idempotency_records
    SELECT (jsonb_populate_record(k, jsonb_build_object('key', k.key || chr(10) || k.caller, 'path', '/api/v1/orders'))).*
    FROM idempotency_records k WHERE resource_id = 'pay_3'
    UNION ALL SELECT (jsonb_populate_record(k, jsonb_build_object('path', '/api/v1/orders'))).*
    FROM idempotency_records k WHERE resource_id = 'pay_3'
"""

PLANTED = (
    ("careful attempts of a payment", "pay_1", SECOND),
    ("careful attempts of a payment", "pay_1", "UPDATE payment_attempts SET number = 2 WHERE payment_id = 'pay_1'"),
    ("careful attempts of a refund", "rfd_2", "UPDATE refund_attempts SET outcome = 'unknown' WHERE number = 1"),
    ("careful attempts of a refund", "rfd_2", "UPDATE refund_attempts SET outcome = NULL WHERE number = 1"),
    ("captured amounts", "pay_1", f"UPDATE payments SET captured_amount = 1049 {COMPLETED}"),
    ("captured amounts", "pay_3", f"UPDATE payments SET captured_amount = 1 {FAILED}"),
    ("proven success of a payment", "pay_1", "UPDATE payment_attempts SET outcome = 'unknown' WHERE payment_id = 'pay_1'"),
    ("proven success of a payment", "pay_1", "DELETE FROM payment_attempts WHERE payment_id = 'pay_1'"),
    ("proven success of a payment", "pay_1", SECOND),
    ("proven failure of a payment", "pay_3", "UPDATE payment_attempts SET outcome = NULL WHERE payment_id = 'pay_3'"),
    ("proven failure of a payment", "pay_3", "UPDATE payment_attempts SET outcome = 'unknown' WHERE payment_id = 'pay_3'"),
    ("proven success of a refund", "rfd_1", "UPDATE refunds SET status = 'completed'"),
    ("proven failure of a refund", "rfd_2", "UPDATE refund_attempts SET outcome = NULL WHERE number = 2"),
    ("proven failure of a refund", "rfd_2", "UPDATE refund_attempts SET outcome = 'unknown' WHERE number = 2"),
    ("known outcomes of a payment", "pay_3", f"UPDATE payments SET outcome_known = false {FAILED}"),
    ("known outcomes of a payment", "pay_1", f"UPDATE payments SET lease_until = now() {COMPLETED}"),
    ("known outcomes of a payment", "pay_1", f"UPDATE payments SET due_at = now() {COMPLETED}"),
    ("known outcomes of a payment", "pay_1", f"UPDATE payments SET completed_at = NULL {COMPLETED}"),
    ("known outcomes of a payment", "pay_1", f"UPDATE payments SET cancelled_at = now() {COMPLETED}"),
    ("known outcomes of a refund", "rfd_1", "UPDATE refunds SET status = 'failed', outcome_known = false"),
    ("refund reservations", "pay_1", f"UPDATE payments SET refund_reserved = 1051 {COMPLETED}"),
    ("refund reservations", "pay_1", f"UPDATE payments SET refunded_amount = 301 {COMPLETED}"),
    ("refund reservations", "pay_1", f"UPDATE payments SET status = 'refunded' {COMPLETED}"),
    ("refund sums", "pay_1", "UPDATE refunds SET amount = 301"),
    ("refund sums", "pay_1", "UPDATE refunds SET status = 'completed'"),
    ("refunds of their payments", "rfd_1", "UPDATE refunds SET currency = 'USD'"),
    ("refunds of their payments", "rfd_1", "UPDATE refunds SET store_id = 'sto_2'"),
    ("refunds of their payments", "rfd_1", "UPDATE refunds SET payment_id = 'pay_3'"),
    ("refunds of their payments", "rfd_1", "UPDATE refunds SET payment_id = 'pay_unknown'"),
    ("bill balances", "bil_3", f"UPDATE bills SET reserved_amount = 1501 {PART}"),
    ("bill balances", "bil_3", f"UPDATE bills SET paid_amount = 100 {PART}"),
    ("bill balances", "bil_3", f"UPDATE bills SET status = 'paid', paid_at = now() {PART}"),
    ("bill balances", "bil_3", f"UPDATE bills SET refunded_amount = 1 {PART}"),
    ("bill balances", "bil_2", "UPDATE bills SET paid_at = NULL WHERE id = 'bil_2'"),
    ("bill sums", "bil_3", f"UPDATE bills SET reserved_amount = 701 {PART}"),
    ("bill sums", "bil_2", f"UPDATE payments SET bill_id = NULL {COMPLETED}"),
    ("bill sums", "bil_2", f"UPDATE payments SET refunded_amount = 1 {COMPLETED}"),
    ("bill sums", "bil_3", f"UPDATE payments SET currency = 'USD' {PENDING}"),
    ("bill sums", "bil_4", f"UPDATE payments SET bill_id = 'bil_4' {FAILED}"),
    ("counted once", "pay_1", f"{BILL_HISTORY} ('bil_2', 4, 'pay_more', 'paid', 'paid', 'pay_1')) AS rows"),
    ("counted once", "pay_1", "DELETE FROM bill_history WHERE event = 'pay_whole'"),
    ("counted once", "pay_2", "DELETE FROM bill_history WHERE reason = 'pay_2'"),
    ("counted once", "pay_3", "DELETE FROM bill_history WHERE event = 'release'"),
    ("bill parts", "bil_1", f"UPDATE bills SET total_amount = 1499, subtotal = 1439 {PART}"),
    ("bill parts", "bil_1", f"UPDATE bills SET tax_amount = 61, subtotal = 1439 {PART}"),
    ("bill parts", "bil_1", "UPDATE bills SET status = 'unpaid' WHERE id = 'bil_1'"),
    ("billed once", "bil_1", "UPDATE bills SET status = 'unpaid' WHERE id = 'bil_1'"),
    ("billed once", "bil_2", "UPDATE orders SET total_amount = 2499, subtotal = 2399"),
    ("paid orders", "ord_1", "UPDATE orders SET status = 'paid'"),
    ("paid orders", "ord_1", f"UPDATE bills SET status = 'paid' {PART}"),
    ("legal edges of a payment", "pay_3", "UPDATE payment_history SET to_status = 'completed' WHERE event = 'fail'"),
    ("legal edges of a payment", "pay_2", "UPDATE payment_history SET to_status = 'failed' WHERE payment_id = 'pay_2'"),
    ("legal edges of a refund", "rfd_1", "UPDATE refund_history SET to_status = 'completed'"),
    ("legal edges of an order", "ord_1", "UPDATE order_history SET to_status = 'paid' WHERE event = 'submit'"),
    ("legal edges of an order", "ord_1", "UPDATE order_history SET event = 'pay' WHERE event = 'submit'"),
    ("legal edges of a bill", "bil_2", "UPDATE bill_history SET to_status = 'partially_paid' WHERE event = 'pay_whole'"),
    ("legal edges of a bill", "bil_1", "UPDATE bill_history SET from_status = 'paid' WHERE event = 'void'"),
    ("legal edges of a device", "dev_1", "UPDATE device_history SET to_status = 'active'"),
    ("counted versions of a payment", "pay_1", f"UPDATE payments SET version = 4 {COMPLETED}"),
    ("counted versions of a payment", "pay_2", "DELETE FROM payment_history WHERE payment_id = 'pay_2'"),
    ("counted versions of a payment", "pay_2", f"DELETE FROM payments {PENDING}"),
    ("counted versions of a refund", "rfd_1", "UPDATE refunds SET version = 2"),
    ("counted versions of an order", "ord_1", "UPDATE orders SET version = 3"),
    ("counted versions of a bill", "bil_2", "DELETE FROM bill_history WHERE event = 'pay_whole'"),
    ("counted versions of a device", "dev_1", "UPDATE devices SET version = 2"),
    ("bound of a payment", "pay_2", f"UPDATE payments SET expires_at = now() - interval '16 min' {PENDING}"),
    (
        "bound of a payment",
        "pay_2",
        "UPDATE payments SET status = 'processing', outcome_known = false, in_doubt_since = now() - interval '26 hours'"
        f" {PENDING}",
    ),
    ("bound of a refund", "rfd_1", "UPDATE refunds SET created_at = now() - interval '76 min'"),
    ("looked after: a payment", "pay_2", f"UPDATE payments SET {AWAY} {PENDING}"),
    ("looked after: a refund", "rfd_1", f"UPDATE refunds SET {AWAY}"),
    ("listed: a payment", "pay_2", "DELETE FROM due_payments"),
    ("listed: a payment", "pay_2", "UPDATE due_payments SET due_at = due_at + interval '1 s'"),
    ("listed: a payment", "pay_1", f"UPDATE payments SET settlement_id = NULL {COMPLETED}"),
    ("listed: a payment", "pay_3", f"UPDATE payments SET provider_reference = 'r' {FAILED}"),
    ("listed: a refund", "rfd_1", "DELETE FROM due_refunds"),
    ("listed: a refund", "rfd_1", "UPDATE refunds SET completed_at = now() WHERE id = 'rfd_1'"),
    ("listed: a refund", "rfd_1", "UPDATE refunds SET provider_reference = 'r' WHERE id = 'rfd_1'"),
    ("one payment for each key", "pay_3", f"DELETE FROM payments {FAILED}"),
    ("one payment for each key", "pay_3", "UPDATE idempotency_records SET body = replace(body, 'pay_3', 'pay_4')"),
    ("one payment for each key", "pay_1", "UPDATE idempotency_records SET body = replace(body, '1000', '1001')"),
    ("one payment for each key", "pay_1", "UPDATE idempotency_records SET body = 'nonsense' WHERE resource_id = 'pay_1'"),
    ("one payment for each key", "pay_1", "UPDATE idempotency_records SET merchant_id = 'mer_2' WHERE resource_id = 'pay_1'"),
    ("one payment for each key", "pay_1", "UPDATE idempotency_records SET body = NULL, recipe = '1' WHERE key LIKE '% pay_1'"),
    (
        "one payment for each key",
        "pay_1",
        "UPDATE idempotency_records SET body = NULL, recipe = '1 0af3107a', merchant_id = 'mer_2' WHERE resource_id = 'pay_1'",
    ),
    (
        "one payment for each key",
        "pay_4",
        """UPDATE idempotency_records SET body = NULL, recipe = '1 0af3107a {"metadata":{}}', resource_id = 'pay_4'
           WHERE resource_id = 'pay_1'""",
    ),
    ("keys of payments by caller", "pay_3", "UPDATE idempotency_records SET caller = 'd' WHERE resource_id = 'pay_3'"),
    ("one answer for each key", "key of pay_3", BESIDE_ITSELF),
    ("one key for each payment", "pay_3", "DELETE FROM idempotency_records WHERE resource_id = 'pay_3'"),
    ("one key for each payment", "pay_1", "UPDATE idempotency_records SET resource_id = 'pay_1' WHERE resource_id = 'pay_2'"),
    ("one payment for each client reference", "pay_1", f"UPDATE payments SET client_reference = 'till-1' {PENDING}"),
    ("no card numbers", "pay_2", f"UPDATE payments SET client_reference = '4111 1111-11111111' {PENDING}"),
    ("no card numbers", "pay_1", """UPDATE payments SET metadata = '{"note": ["x", "a5555555555554444z"]}' """ + COMPLETED),
    ("no card numbers", "pay_2", f"UPDATE payments SET client_reference = 'x４２４２4242٤٢٤٢4242' {PENDING}"),
    ("no card numbers", "pay_1", """UPDATE payments SET metadata = '{"a": {"x378282246310005": [4]}}' """ + COMPLETED),
    ("no card numbers", "pay_1", """UPDATE payments SET metadata = '{"a": [4242424242424242]}' """ + COMPLETED),
    (
        "no card numbers",
        "stm_1:1",
        "INSERT INTO statement_chunks VALUES ('stm_1', 1, 'mer_1', 'sto_1', 'ref;amt\nx4242424242424242;1'::bytea)",
    ),
    ("no card numbers", "mer_1", "INSERT INTO merchants VALUES ('mer_1', 'psp_1', '30569309025904', now(), now())"),
    ("history of a payment", "pay_1", "DELETE FROM payment_history WHERE payment_id = 'pay_1' AND version = 2"),
    ("history of a payment", "pay_3", f"UPDATE payments SET status = 'cancelled' {FAILED}"),
    ("history of a payment", "pay_1", "UPDATE payment_history SET from_status = 'failed' WHERE event = 'complete'"),
    ("history of a refund", "rfd_1", "UPDATE refunds SET status = 'processing'"),
    ("history of an order", "ord_1", "UPDATE orders SET status = 'cancelled'"),
    ("history of a bill", "bil_3", "DELETE FROM bill_history WHERE bill_id = 'bil_3' AND version = 2"),
    ("history of a device", "dev_1", "UPDATE devices SET version = 2"),
    *valid_settlements.PLANTED,
)  # fmt: skip

HARMLESS = (
    "UPDATE payment_history SET at = at - interval '1 hour' WHERE version = 3",  # the database's clock was set back
    f"UPDATE payments SET client_reference = 'pay_01a207a4fa5d4111111111111111d2883b' {PENDING}",  # one of our own ids
    f"UPDATE payments SET client_reference = '41111111111111110000' {PENDING}",  # twenty digits are not a card number
    f"UPDATE payments SET client_reference = '4111111111111112' {PENDING}",  # fails the Luhn check
    f"UPDATE payments SET client_reference = '23456789012340005' {PENDING}",  # no brand has such numbers
    f"""UPDATE payments SET metadata = '{{"sizes": [4242, 4242, 4242, 4242]}}' {PENDING}""",  # four values
    "INSERT INTO statement_chunks VALUES ('stm_1', 1, 'mer_1', 'sto_1', '4242,4242,4242,4242,渋谷店渋谷'::bytea)",  # cells
    f"UPDATE payments SET expires_at = now() - interval '14 min' {PENDING}",  # a long outage that must be survived
    f"UPDATE payments SET status = 'processing', needs_review = true, due_at = NULL, outcome_known = false {PENDING}",
)


@pytest.fixture(scope="module")
async def database(stack: LocalStack) -> AsyncIterator[str]:
    """Yield a database whose constraints and triggers may be dropped."""
    async with clone_of_template(stack.urls.database) as url:
        yield url


@pytest.fixture
async def connection(database: str) -> AsyncIterator[AsyncConnection]:
    """Yield a transaction with valid rows and without constraints, which is rolled back afterwards."""
    engine = create_async_engine(make_url(database).set(drivername="postgresql+psycopg"))
    async with engine.connect() as connection:
        await drop_constraints(connection)
        await insert_valid_rows(connection)
        yield connection
        await connection.rollback()
    await engine.dispose()


async def broken(connection: AsyncConnection) -> dict[str, Finding]:
    return {finding.rule.name: finding for finding in await check(connection, RULES) if finding.count}


async def test_valid_rows_break_no_rule(connection: AsyncConnection) -> None:
    findings = await check(connection, RULES)
    assert {finding.rule.name: finding.violations for finding in findings if finding.count} == {}
    assert all(finding.checked > 0 for finding in findings)


@pytest.mark.parametrize(("rule", "entity", "lie"), PLANTED)
async def test_a_planted_violation_is_found(connection: AsyncConnection, rule: str, entity: str, lie: str) -> None:
    await run(connection, lie)
    found = await broken(connection)
    assert rule in found, sorted(found)
    assert entity in {violation.id for violation in found[rule].violations}
    assert all(violation.problem for violation in found[rule].violations)


@pytest.mark.parametrize("change", HARMLESS)
async def test_unusual_but_allowed_rows_are_not_violations(connection: AsyncConnection, change: str) -> None:
    await run(connection, change)
    found = await broken(connection)
    found.pop("history of a payment", None)  # the statement wrote no history, which is not tested here
    assert found == {}


async def test_many_violations_are_counted_and_the_first_are_reported(connection: AsyncConnection) -> None:
    await run(
        connection,
        "INSERT INTO payment_history (payment_id, version, merchant_id, store_id, event, to_status, at, caller_type,"
        " caller_id) SELECT 'pay_x' || n, 1, 'mer_1', 'sto_1', 'create', 'pending', now(), 'user', 'u'"
        " FROM generate_series(1, 50) AS n",
    )
    finding = (await broken(connection))["counted versions of a payment"]
    assert finding.count == 50
    assert len(finding.violations) == 20


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule for rule, _, _ in PLANTED} == {rule.name for rule in RULES}


def test_rules_have_unique_names_and_sentences_that_fit_on_a_line() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(len(rule.sentence) <= 76 and rule.sentence.endswith(".") for rule in RULES)
