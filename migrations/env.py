"""How alembic reaches the database: ``MPAC_DATABASE_URL``, as its owner, one short transaction per migration.

``lock_timeout`` makes a migration give up rather than queue every terminal behind it; it can simply be run again.
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
    "workflows.ops.canaries",
    "workflows.ops.heartbeats",
    "workflows.ops.metric_totals",
    "workflows.invariants.results",
    "workflows.ops.dead_letters",
    "workflows.orders.models",
    "workflows.bills.models",
    "workflows.payments.models",
    "workflows.refunds.models",
    "workflows.settlements.models",
    "workflows.reconciliation.statements.models",
    "workflows.reconciliation.models",
    "workflows.ledger.models",
)
for module in MODELS:
    importlib.import_module(module)

# Two migrations at once (two containers that start together) take turns: any constant will do, as long as it stays.
MIGRATION_LOCK = 7_210_815
LOCK_STEP_SECONDS = 0.2


def run() -> None:
    """Upgrade or downgrade, whatever the command line asked for."""
    url = make_url(os.environ["MPAC_DATABASE_URL"]).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        while not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK}).scalar():
            connection.commit()  # no snapshot meanwhile: an index that is built concurrently would wait for it
            time.sleep(LOCK_STEP_SECONDS)
        connection.execute(text("SET lock_timeout = '3s'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transaction_per_migration=True,
            compare_server_default=False,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK})
        connection.commit()


try:
    run()
except OperationalError as error:
    if error.connection_invalidated or error.statement is None:  # it was never reached, or went away
        said = str(error.orig).strip().partition("\n")[0]
        raise SystemExit(
            f"The database of MPAC_DATABASE_URL does not answer ({said}); start it, then again."
        ) from error
    raise
