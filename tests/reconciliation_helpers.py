"""Create closed settlements with given lines, and provider statements for them."""

import io
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import orjson
import psycopg
import uuid_utils
from psycopg.rows import DictRow

from tests.factories import Tenant
from tests.reference_matcher import Books, Ours, Theirs
from workflows.clock import now
from workflows.ids import new_id
from workflows.providers.statement_mapping import StatementMapping
from workflows.reconciliation.statements.fetch import MAPPING
from workflows.reconciliation.statements.store_file import Incoming, receive_statement
from workflows.settlements.close import close_manually
from workflows.settlements.open_periods import open_due_periods
from workflows.tenants.actor import Actor
from workflows.tenants.caller import Caller, CallerRole

LINE_COLUMNS = """settlement_id, kind, entity_id, merchant_id, store_id, payment_id, provider, provider_reference,
    our_reference, method_type, brand, currency, amount, fee, occurred_at, business_date"""
LINES = StatementMapping(
    columns={**MAPPING.columns, "on": "on", "status": "status"}, signs="signed", settled_words=["settled"]
)
"""The column mapping of the statement files that these tests write."""


def manager(tenant: Tenant) -> Caller:
    """Return the store's manager as an API caller."""
    return Caller("usr_manager", CallerRole.STORE_MANAGER, tenant.psp_id, tenant.merchant_id, tenant.store_id)


def merchant_admin(tenant: Tenant) -> Caller:
    """Return the merchant's administrator as an API caller."""
    return Caller("usr_admin", CallerRole.MERCHANT_ADMIN, tenant.psp_id, tenant.merchant_id)


async def open_settlement(admin: psycopg.AsyncConnection[DictRow], tenant: Tenant) -> dict[str, Any]:
    """Return the running settlement of ``tenant``'s store."""
    await open_due_periods(worker="worker-of-the-test")
    found = await admin.execute("SELECT * FROM settlements WHERE store_id = %s AND status = 'open'", [tenant.store_id])
    row = await found.fetchone()
    assert row is not None
    return row


async def closed_settlement(
    admin: psycopg.AsyncConnection[DictRow],
    tenant: Tenant,
    lines: Iterable[Ours],
    *,
    attempts: dict[str, bool] | None = None,
    methods: dict[str, str] | None = None,
) -> str:
    """Insert a closed settlement with ``lines`` and return its id.

    ``attempts`` maps references of our attempts to whether they succeeded. Lines are card sales, except those in
    ``methods``.
    """
    settlement = await open_settlement(admin, tenant)
    async with admin.cursor() as cursor, cursor.copy(f"COPY settlement_lines ({LINE_COLUMNS}) FROM STDIN") as copy:
        for line in lines:
            payment_id = line.entity_id if line.kind == "payment" else None
            owner = (settlement["id"], line.kind, line.entity_id, tenant.merchant_id, tenant.store_id, payment_id)
            references = (line.provider, line.provider_reference, line.our_reference)
            method = (methods or {}).get(line.entity_id, "card"), "visa"
            facts = (line.currency, line.amount, line.fee, line.occurred_at, line.business_date)
            await copy.write_row((*owner, *references, *method, *facts))
    await _attempts(admin, tenant, attempts or {})
    return await close_manually(settlement["id"], caller=manager(tenant), request_id=new_id("request"))


async def _attempts(admin: psycopg.AsyncConnection[DictRow], tenant: Tenant, attempts: dict[str, bool]) -> None:
    """Insert a payment without history for each attempt that the provider's statement may refer to."""
    for reference, succeeded in attempts.items():
        payment_id = reference.partition(":")[0]
        row = (payment_id, tenant.merchant_id, tenant.store_id)
        await admin.execute(
            """INSERT INTO payments (id, merchant_id, store_id, status, version, amount, currency, method_type,
                   processing_mode, provider, expires_at, created_at)
               VALUES (%s, %s, %s, 'pending', 1, 1, 'JPY', 'card', 'provider', 'sandbox', now(), now())""",
            row,
        )
        if succeeded:
            for change in ("status = 'processing'", "status = 'completed', captured_amount = 1"):
                await admin.execute(f"UPDATE payments SET {change}, version = version + 1 WHERE id = %s", [payment_id])
        await admin.execute(
            """INSERT INTO payment_attempts (payment_id, number, merchant_id, store_id, provider, reference, sent_at, outcome)
               VALUES (%s, 1, %s, %s, 'sandbox', %s, now(), %s)""",
            (*row, reference, "succeeded" if succeeded else "declined"),
        )


def statement_file(lines: Iterable[Theirs]) -> io.BytesIO:
    """Return a statement file with ``lines``, in the columns of the mapping ``LINES``."""
    file = io.BytesIO()
    header = list(LINES.columns.values())
    file.write((",".join(header) + "\n").encode())
    for line in lines:
        cells = {
            **{
                name: getattr(line, name)
                for name in ("kind", "our_reference", "provider_reference", "amount", "currency")
            },
            "fee": line.fee,
            "at": line.at and line.at.isoformat(),
            "on": line.on,
            "status": "settled" if line.is_settled else "failed",
        }
        file.write((",".join("" if cells[name] is None else str(cells[name]) for name in header) + "\n").encode())
    file.seek(0)
    return file


async def upload(tenant: Tenant, settlement_id: str, lines: Iterable[Theirs], **changes: Any) -> dict[str, Any]:
    """Upload ``lines`` as a statement, as the store's manager, and return the statement."""
    incoming = Incoming(settlement_id, "sandbox", statement_file(lines), "csv", mapping=LINES)
    stored = await receive_statement(incoming, actor=Actor(manager(tenant)), **changes)
    body: dict[str, Any] = orjson.loads(stored.body)
    return body


def some_sales(count: int, *, at: datetime | None = None) -> list[Ours]:
    """Return ``count`` of our lines dated ``at`` (default: now); a tenth are refunds."""
    prefix = uuid_utils.uuid7().hex[-12:] + "x"
    at = at or now().replace(microsecond=0)
    lines = []
    for number in range(count):
        kind, sign = ("refund", -1) if number % 10 == 9 else ("payment", 1)
        entity = f"{'rfd' if sign < 0 else 'pay'}_{prefix}{number:08d}"
        amount = 1_000 + number % 5_000
        fee = amount * 324 // 10_000 if sign > 0 else 0
        lines.append(Ours(kind, entity, f"{entity}:1", f"sbx_{prefix}{number:08x}", sign * amount, fee, at, at.date()))
    return lines


def mirror(line: Ours, **changes: Any) -> Theirs:
    """Return the provider's line that agrees with our ``line``."""
    facts = {
        "kind": line.kind,
        "our_reference": line.our_reference,
        "provider_reference": line.provider_reference,
        "amount": line.amount,
        "fee": line.fee,
        "at": line.occurred_at,
        "currency": line.currency,
        "provider": line.provider,
    }
    return Theirs(**{**facts, **changes})


def books_of(ours: list[Ours], theirs: list[Theirs], **more: Any) -> Books:
    """Return the input of the reference matcher for a run at the current time."""
    return Books(ours, theirs, as_of=now(), **more)
