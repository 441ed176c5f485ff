"""Run migrations on ``MPAC_DATABASE_URL`` as the database's owner, each in a short transaction of its own.

``lock_timeout`` makes a migration fail rather than block every terminal behind its lock. It can be run again.
"""

import importlib
import os
import time

from alembic import context
from sqlalchemy import create_engine, pool, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from workflows.database.engines import Base

MODELS = (
    "workflows.tenants.models",
    "workflows.devices.models",
    "workflows.requests.idempotency",
    "workflows.numbering",
    "workflows.ops.maintenance",
    "workflows.ops.liveness",
    "workflows.ops.metrics_store",
    "workflows.invariants.scheduled",
    "workflows.ops.dead_letters",
    "workflows.orders.models",
    "workflows.bills.models",
    "workflows.payments.models",
    "workflows.refunds.models",
    "workflows.settlements.models",
    "workflows.reconciliation.statements.models",
    "workflows.reconciliation.models",
    "workflows.ledger.models",
    "workflows.archive.models",
)
for module in MODELS:
    importlib.import_module(module)

# Concurrent runs (two containers that start together) take turns on this lock. The number must never change.
MIGRATION_LOCK = 7_210_815
LOCK_STEP_SECONDS = 0.2


def run() -> None:
    """Run the upgrade or downgrade that the command line requested."""
    url = make_url(os.environ["MPAC_DATABASE_URL"]).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        while not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK}).scalar():
            connection.commit()  # hold no snapshot: an index that is built concurrently would wait for it
            time.sleep(LOCK_STEP_SECONDS)
        connection.execute(text("SET lock_timeout = '3s'"))
        partitions = set(connection.execute(text("SELECT relname FROM pg_class WHERE relispartition")).scalars())
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transaction_per_migration=True,
            compare_server_default=False,
            include_name=lambda name, kind, _: kind != "table" or name not in partitions,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK})
        connection.commit()


try:
    run()
except OperationalError as error:
    if error.connection_invalidated or error.statement is None:  # it could not be reached, or the connection was lost
        said = str(error.orig).strip().partition("\n")[0]
        raise SystemExit(
            f"The database of MPAC_DATABASE_URL does not answer ({said}). Start it, then run this again."
        ) from error
    raise
