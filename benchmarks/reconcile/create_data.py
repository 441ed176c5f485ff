"""Insert a settlement of many lines by SQL, close it with the product, and write the provider's file for it."""

from typing import IO

import psycopg

from workflows.settlements.close import close_manually
from workflows.settlements.open_periods import open_due_periods
from workflows.tenants.caller import Caller, CallerRole

_TENANT = (
    "INSERT INTO psps (id, name) VALUES ('psp_bench', 'Bench') ON CONFLICT DO NOTHING",
    "INSERT INTO merchants VALUES ('mer_bench', 'psp_bench', 'Bench', now(), now()) ON CONFLICT DO NOTHING",
    """INSERT INTO stores (id, merchant_id, name, currency, time_zone, cut_off, created_at, updated_at)
       VALUES (%(store)s, 'mer_bench', 'Bench', 'JPY', 'Asia/Tokyo', '00:00', now(), now())""",
)
_LINES = """
    INSERT INTO settlement_lines (settlement_id, kind, entity_id, merchant_id, store_id, payment_id, provider,
        provider_reference, our_reference, method_type, brand, currency, amount, fee, occurred_at, business_date)
    SELECT s.id, 'payment', e.id, s.merchant_id, s.store_id, e.id, 'sandbox',
           -- letters only: among many hexadecimal references one would have digits like a card number, and be refused
           'sbx_' || translate(substr(md5(e.id), 1, 24), '0123456789', 'ghijklmnop'),
           e.id || ':1', 'qr', NULL, 'JPY', 1000 + i %% 977, 32, now() - interval '30 hours', s.business_date
    FROM settlements s
    CROSS JOIN generate_series(1, %(rows)s) AS i
    CROSS JOIN LATERAL (SELECT concat('pay_', CAST(%(run)s AS text), lpad(to_hex(i), 24, '0')) AS id) e
    WHERE s.store_id = %(store)s AND s.status = 'open'
"""
_FILE = """
    COPY (SELECT 'charge' AS kind, our_reference AS reference, provider_reference,
                 amount + CASE WHEN n <= {breaks} THEN 1 ELSE 0 END AS amount, currency, fee,
                 to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at
          FROM (SELECT *, row_number() OVER () AS n FROM settlement_lines WHERE settlement_id = '{settlement}') lines
    ) TO STDOUT (FORMAT csv, HEADER)
"""


async def create_settlement(address: str, *, run: str, rows: int) -> str:
    """Create a closed settlement with ``rows`` lines in a new store, and return its id."""
    store = f"sto_{run}"
    values = {"store": store, "run": run, "rows": rows}
    with psycopg.connect(address, autocommit=True) as connection:
        for statement in _TENANT:
            connection.execute(statement, values)
        await open_due_periods(worker="bench")
        connection.execute(_LINES, values)
        found = connection.execute("SELECT id FROM settlements WHERE store_id = %(store)s", values).fetchone()
        connection.execute("CHECKPOINT")
    if found is None:
        raise SystemExit("The store has no period.")
    caller = Caller("usr_bench", CallerRole.SYSTEM_OP)
    return await close_manually(found[0], caller=caller, request_id="req_bench")


def write_statement(address: str, file: IO[bytes], *, settlement_id: str, breaks: int) -> int:
    """Write the provider's file, in which ``breaks`` amounts are wrong by one. Return its size in bytes."""
    with psycopg.connect(address) as connection:
        statement = _FILE.format(breaks=breaks, settlement=settlement_id)
        with connection.cursor().copy(statement) as copy:
            for data in copy:
                file.write(data)
    return file.tell()
