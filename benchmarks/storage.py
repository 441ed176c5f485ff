"""Measure what a payment writes: ``python -m benchmarks.storage``, on its own database, in about a minute.

Payments pass through the product's own accept, claim and record in groups, with a provider that answers at once, in one
process and without API, broker or worker. The figures therefore contain what PostgreSQL writes, and nothing else.

| row                      | what it is                                                                                     |
|--------------------------|------------------------------------------------------------------------------------------------|
| WAL                      | bytes of WAL per payment without full-page images, which depend on checkpoints and table sizes |
| WAL with images          | the same after a checkpoint, with full-page images                                             |
| stays                    | bytes per payment in all tables and indexes after ``VACUUM``, without idempotency records      |
| idempotency              | bytes per payment of the idempotency records, which are deleted after a day                    |
| updates of payments, HOT | share of the updates of ``payments`` that touched no index, in per cent                        |
| PostgreSQL               | CPU time of all server processes per payment                                                   |

``--stores`` spreads the payments over many stores, whose index pages are far from each other.
"""

import argparse
import asyncio
import resource
from collections import Counter
from pathlib import Path
from typing import Any, cast

import psutil
import psycopg
import uuid_utils

from benchmarks.large_data import Row, database_alone, show
from workflows.database.engines import connect, disconnect
from workflows.ids import new_id
from workflows.payments.accept import PaymentIntake
from workflows.payments.check_request import PaymentRequest, PaymentSubmission
from workflows.processing.executor import LeaseExecutor
from workflows.providers.base import NEVER, Charge, Outcome, Succeeded
from workflows.providers.registry import Providers
from workflows.refunds.workload import PAYMENTS
from workflows.requests.idempotency import Key
from workflows.settings import Settings
from workflows.tenants.caller import Caller, CallerRole

REQUEST = PaymentRequest(
    amount=1_000,
    currency="JPY",
    tip_amount=0,
    method_type="qr",
    method_mode="cpm",
    processing_mode="provider",
    provider="sandbox",
    facts={},
    expires_in_seconds=300,
)
_SIZES = """
    SELECT relname, pg_table_size(oid) AS heap, pg_indexes_size(oid) AS indexes FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
_DEVICE_HISTORY = """
    INSERT INTO device_history (device_id, version, merchant_id, store_id, event, from_status, to_status, at, caller_type,
        caller_id)
    VALUES (%(device)s, 1, %(merchant)s, %(store)s, 'create', NULL, 'pending_activation', now(), 'user', 'bench'),
           (%(device)s, 2, %(merchant)s, %(store)s, 'activate', 'pending_activation', 'active', now(), 'user', 'bench')
"""
_UPDATES = "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"


def letters(value: uuid_utils.UUID) -> str:
    """Return the 32 hexadecimal digits of ``value`` as letters.

    Among many thousands, some hexadecimal texts would have digits like those of a card number (I13).
    """
    return value.hex.translate(_DIGITS_TO_LETTERS)


_DIGITS_TO_LETTERS = str.maketrans("0123456789", "ghijklmnop")


class InstantProvider:
    """A provider that approves every charge at once, and remembers nothing."""

    name = "sandbox"
    deduplicates = True
    max_processing_seconds = 60.0

    async def charge(self, charge: Charge, *, not_after: float = NEVER) -> Outcome:  # noqa: ARG002 - of the protocol
        """Approve ``charge`` under a reference as long as the sandbox's."""
        return Succeeded(charge.amount, f"sbx_{letters(uuid_utils.uuid7())}", fee=32)


def create_stores(connection: psycopg.Connection[Any], number: int) -> list[Caller]:
    """Create ``number`` stores with one device each, and return the devices as callers."""
    psp, merchant = new_id("psp"), new_id("merchant")
    connection.execute("INSERT INTO psps (id, name) VALUES (%s, 'Bench')", [psp])
    connection.execute("INSERT INTO merchants VALUES (%s, %s, 'Bench', now(), now())", [merchant, psp])
    callers = []
    for _ in range(number):
        store, device = new_id("store"), new_id("device")
        connection.execute(
            "INSERT INTO stores VALUES (%s, %s, 'Bench', 'JPY', 'Asia/Tokyo', '00:00', now(), now())", [store, merchant]
        )
        connection.execute(
            "INSERT INTO store_providers VALUES (%s, %s, %s, 'sandbox', '{card,qr}', 1, true, null, now(), now())",
            [new_id("store_provider"), merchant, store],
        )
        connection.execute("SET session_replication_role = replica")  # a device begins as registered, not as active
        connection.execute(
            """INSERT INTO devices (id, merchant_id, store_id, serial_number, name, model, status, version, created_at,
                   client_id, public_key_pem, activated_at)
               VALUES (%s, %s, %s, %s, 'Bench', 'Bench', 'active', 2, now(), %s, 'a key', now())""",
            [device, merchant, store, device, device],
        )
        connection.execute(_DEVICE_HISTORY, {"device": device, "merchant": merchant, "store": store})
        connection.execute("SET session_replication_role = origin")
        callers.append(Caller(device, CallerRole.DEVICE, psp, merchant, store))
    return callers


class Till:
    """Sends payments of the callers in turn through accept, claim and record."""

    def __init__(self, settings: Settings, callers: list[Caller]) -> None:
        self._callers = callers
        self._intake = PaymentIntake(
            nudge_grace_seconds=settings.nudge_grace_seconds,
            timeout_seconds=60,
            renders_answers=settings.render_answers,
        )
        providers = Providers({"sandbox": cast(Any, InstantProvider())})
        self._executor = LeaseExecutor(PAYMENTS, settings=settings, providers=providers, worker="bench@storage:1")
        self._sent = 0

    async def pay(self, payments: int, *, group: int) -> None:
        """Process ``payments`` payments, ``group`` at a time."""
        for _ in range(0, payments, group):
            answers = await asyncio.gather(*(self._intake.accept_payment(self._next()) for _ in range(group)))
            ids = [answer.resource_id for answer in answers if answer.resource_id]
            if len(ids) != group:
                raise RuntimeError("a payment was not accepted")
            await self._executor.process(ids)

    def _next(self) -> PaymentSubmission:
        self._sent += 1
        caller, value = self._callers[self._sent % len(self._callers)], letters(uuid_utils.uuid4())
        request = PaymentRequest(**{**_fields(REQUEST), "client_reference": f"till-{self._sent}-{value[:12]}"})
        key = Key(value, "POST", "/api/v1/payments", caller.identity, value * 2, f"{value}{value}:")
        return PaymentSubmission(request, caller, key, new_id("request"))


def _fields(request: PaymentRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__dataclass_fields__}


class Meter:
    """Reads the server's counters."""

    def __init__(self, address: str) -> None:
        self._connection = psycopg.connect(address, autocommit=True)

    def execute(self, statement: str) -> None:
        """Execute ``statement`` as the database's owner."""
        self._connection.execute(statement.encode())

    def wal(self) -> int:
        """Return the position of the WAL in bytes."""
        return int(self._value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes of the server; 0 if it runs on another machine."""
        try:
            server = psutil.Process(int(self._value("SELECT pg_backend_pid()"))).parent()
        except psutil.Error:
            return 0.0
        processes = [server, *server.children()] if server else []
        return sum(sum(process.cpu_times()[:4]) for process in processes)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return the bytes of each table's heap and of its indexes."""
        return {name: (heap, indexes) for name, heap, indexes in self._connection.execute(_SIZES.encode())}

    def updates(self, table: str) -> Counter[str]:
        """Return the number of updates of ``table``, and how many of them were HOT."""
        self.execute("SELECT pg_stat_force_next_flush()")
        rows = {name: (every, hot) for name, every, hot in self._connection.execute(_UPDATES.encode())}
        every, hot = rows[table]
        return Counter(every=every, hot=hot)

    def _value(self, query: str) -> Any:
        row = self._connection.execute(query.encode()).fetchone()
        return row[0] if row else 0


async def measure(address: str, *, payments: int, group: int, stores: int) -> list[Row]:
    """Process ``payments`` payments twice, without and with full-page images; return the table's rows."""
    settings = Settings(
        database_url=address, broker_url="redis://127.0.0.1:1/0", secret_key="0" * 32, render_answers=True
    )
    connect(settings)
    meter = Meter(address)
    with psycopg.connect(address, autocommit=True) as connection:
        till = Till(settings, create_stores(connection, stores))
    await till.pay(20 * group, group=group)  # plans are cached and pages extended before anything is counted
    meter.execute("VACUUM")
    before, updates_before = meter.sizes(), meter.updates("payments")
    meter.execute("ALTER SYSTEM SET full_page_writes = off")
    meter.execute("SELECT pg_reload_conf()")
    meter.execute("CHECKPOINT")
    wal, cpu = meter.wal(), meter.cpu_seconds()
    await till.pay(payments, group=group)
    without, cpu = meter.wal() - wal, meter.cpu_seconds() - cpu
    meter.execute("ALTER SYSTEM RESET full_page_writes")
    meter.execute("SELECT pg_reload_conf()")
    meter.execute("CHECKPOINT")
    wal = meter.wal()
    await till.pay(payments, group=group)
    with_images = meter.wal() - wal
    updates = meter.updates("payments")
    updates.subtract(updates_before)
    meter.execute("VACUUM")
    rows = [
        Row("WAL", without / payments, "B"),
        Row("WAL with images", with_images / payments, "B"),
        Row("updates of payments, HOT", 100 * updates["hot"] / max(updates["every"], 1), "%"),
        Row("PostgreSQL", 1e6 * cpu / payments, "us"),
        *size_rows(before, meter.sizes(), 2 * payments),
    ]
    await disconnect()
    return rows


def size_rows(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], payments: int) -> list[Row]:
    """Return the growth per payment: the sum, and each table that grew, with its indexes beside it."""
    grown = {name: (heap - before[name][0], indexes - before[name][1]) for name, (heap, indexes) in after.items()}
    stays = sum(sum(sizes) for name, sizes in grown.items() if name != "idempotency_records")
    rows = [Row("stays", stays / payments, "B")]
    for name, (heap, indexes) in sorted(grown.items(), key=lambda item: -sum(item[1])):
        if heap + indexes > payments:  # above one byte each
            beside = f"heap {heap / payments:,.0f}, indexes {indexes / payments:,.0f}"
            rows.append(Row(f"  {name}", (heap + indexes) / payments, "B", beside))
    return rows


async def main() -> None:
    """Run the benchmark from the command line."""
    words = argparse.ArgumentParser(description="What PostgreSQL writes for a payment.")
    words.add_argument("--payments", type=int, default=20_000, help="payments of each of the two runs")
    words.add_argument("--group", type=int, default=50, help="payments accepted and recorded together")
    words.add_argument("--stores", type=int, default=100, help="stores that take the payments in turn")
    words.add_argument("--database", help="a migrated database to measure in; else a temporary one")
    words.add_argument("--results", type=Path, help="the JSON file to write")
    chosen = words.parse_args()
    async with database_alone(chosen.database) as address:
        rows = await measure(address, payments=chosen.payments, group=chosen.group, stores=chosen.stores)
    title = f"{chosen.payments} payments in groups of {chosen.group}, {chosen.stores} stores"
    show(
        f"{title}, this process {resource.getrusage(resource.RUSAGE_SELF).ru_utime:.0f} s", rows, results=chosen.results
    )


if __name__ == "__main__":
    asyncio.run(main())
