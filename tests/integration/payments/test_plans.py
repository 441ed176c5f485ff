"""The statements of the hot path use indexes, whatever the tables contained when their plan was made.

Their plans are generic and live as long as the connection: a plan that was made for an empty table is still used when the
table has a million rows. So each plan is checked on empty tables, and on small ones whose statistics make a full scan the
cheapest.
"""

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from workflows import numbering
from workflows.bills import apply_payments, lock
from workflows.bills import intake as bill_intake
from workflows.bills import queries as bill_queries
from workflows.database.engines import KEY_LOOKUP_SETTINGS
from workflows.devices import issue_token
from workflows.ledger import post_journals
from workflows.orders import create, write_orders
from workflows.orders import queries as order_queries
from workflows.payments import check_request, record, write_payments
from workflows.payments import queries as payment_queries
from workflows.processing import leases, lost_answers, shared_statements
from workflows.refunds import intake as refund_intake
from workflows.refunds import queries as refund_queries
from workflows.refunds import record as refund_record
from workflows.refunds.workload import PAYMENTS, REFUNDS
from workflows.requests import first_answers

HOT: dict[str, Any] = {
    "accept: look": check_request._LOAD_CONTEXT,
    "accept: write": write_payments.WRITE,
    "accept: replay": first_answers._READ,
    "order: look": create._LOOK_UP,
    "order: write": write_orders._WRITE,
    "order: submit": write_orders._SUBMIT,
    "order: number": numbering._ALLOCATE,
    "bill: lock order": bill_intake._LOCK,
    "bill: look": bill_intake._LOOK_UP,
    "bill: write": bill_intake._WRITE,
    "bill: lock": lock._LOCK,
    "bill: lock what is free": lock._LOCK_UNLOCKED,
    "bill: hold": lock.WRITE_RESERVED,
    "bill: settle": lock.WRITE_AMOUNTS,
    "bill: its orders": apply_payments._ORDERS,
    "bill: lock orders": apply_payments._LOCK_ORDERS,
    "bill: pay orders": apply_payments._PAY_ORDERS,
    "read: payment": payment_queries._READ,
    "page: payments": payment_queries._PAGE,
    "read: order": order_queries._READ_ORDER,
    "read: bill": bill_queries._READ,
    "read: refund": refund_queries._READ,
    "device token: look": issue_token._FIND_KEYS,
    "device token: redeem": issue_token._REDEEM,
    "payments: record": record._RECORD,
    "payments: evidence": record._EVIDENCE,
    "refund: look": refund_intake._LOOK_UP,
    "refund: write": refund_intake._WRITE,
    "refunds: record": refund_record._RECORD,
    "refunds: record alone": refund_record._RECORD_ALONE,
    "payments: recorded earlier": lost_answers.RECORDED["payment"],
    "refunds: recorded earlier": lost_answers.RECORDED["refund"],
    "ledger: completions": post_journals._POST_COMPLETIONS,
    "ledger: refunds": post_journals._POST_REFUNDS,
    **{
        f"{table.entity}s: {name}": leases._statement(template, table)
        for table in (PAYMENTS, REFUNDS)
        for name, template in {
            "start": shared_statements.START,
            "resume": shared_statements.RESUME,
            "unclaimed": shared_statements.UNCLAIMED,
            "new attempts": shared_statements.NEW_ATTEMPTS,
            "resends": shared_statements.RESENDS,
        }.items()
    },
}
SMALL = """
    INSERT INTO psps (id, name) VALUES ('psp_1', 'x');
    INSERT INTO merchants (id, psp_id, name, created_at, updated_at) VALUES ('mer_1', 'psp_1', 'x', now(), now());
    INSERT INTO stores SELECT 'sto_' || n, 'mer_1', 'x', 'JPY', 'Asia/Tokyo', '00:00', now(), now()
    FROM generate_series(1, 5) n;
    INSERT INTO devices (id, merchant_id, store_id, serial_number, client_id, name, model, status, version, created_at)
    SELECT 'dev_' || n, 'mer_1', 'sto_1', n, n, 'x', 'x', 'pending_activation', 1, now() FROM generate_series(1, 30) n;
    INSERT INTO payments (id, merchant_id, store_id, status, version, amount, tip_amount, currency, method_type,
                          processing_mode, provider, metadata, request_id, expires_at, created_at, due_at)
    SELECT 'pay_' || n, 'mer_1', 'sto_1', 'pending', 1, 1, 0, 'JPY', 'qr', 'provider', 'sandbox', '{}', 'x', now(), now(),
           now()
    FROM generate_series(1, 30) n;
    ANALYZE;
"""
"""A few rows, as on the first day of a shop, with up-to-date statistics."""


def _numbered(sql: str) -> str:
    """Replace ``:name`` by ``$1``, because PREPARE and EXPLAIN do not know names."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return re.sub(r"(?<![:\\\w]):(\w+)", number, sql).replace("\\:", ":")


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from _nodes(inner)


def _reads_all(node: dict[str, Any]) -> bool:
    if node["Node Type"] == "Seq Scan":
        return True
    return node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Index Scan") and "Index Cond" not in node


async def _whole_reads(connection: psycopg.AsyncConnection[DictRow], sql: str) -> list[str]:
    """Return the tables that a cached plan of ``sql`` scans completely."""
    explain = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {_numbered(sql)}"
    row = await (await connection.execute(explain.encode())).fetchone()
    assert row is not None
    [found] = row["QUERY PLAN"]
    return [
        node.get("Relation Name") or node.get("Index Name", "?") for node in _nodes(found["Plan"]) if _reads_all(node)
    ]


@pytest.fixture
async def keyed(own_database: str) -> Any:
    """Yield a connection with the settings of the hot path, on a new database."""
    async with await psycopg.AsyncConnection.connect(
        own_database,
        autocommit=True,
        row_factory=psycopg.rows.dict_row,
        options=" ".join(f"-c {name}={value}" for name, value in KEY_LOOKUP_SETTINGS.items()),
    ) as connection:
        yield connection


@pytest.mark.parametrize("tables", ["empty", "small"])
async def test_no_cached_plan_of_the_hot_path_reads_a_whole_table(
    keyed: psycopg.AsyncConnection[DictRow], tables: str
) -> None:
    if tables == "small":
        await keyed.execute(SMALL.encode())
    found = {name: await _whole_reads(keyed, str(statement)) for name, statement in HOT.items()}
    wrong = [f"{name} reads {read}" for name, read in found.items() if read]
    assert not wrong, "\n".join(wrong)


async def test_plan_that_reads_a_whole_table_is_detected(keyed: psycopg.AsyncConnection[DictRow]) -> None:
    assert await _whole_reads(keyed, "SELECT id FROM stores WHERE name = :name") == ["stores"]
