"""Vacuum each table by how it changes, instead of when a fifth of it has changed (docs/production.md, Autovacuum).

A fifth of a table of ten million rows is two million rows: the first vacuum would come after an hour at 500 payments/s, and
read for minutes. Small steps cost the same in sum and never pile up.
"""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

# Rows live for seconds, and a sweep reads the table each second. Truncating would need a lock that stops every accept.
SHORT_LIVED = "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,"
SHORT_LIVED += " autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000, vacuum_truncate = off"
# Rows live for a day, so old ones are deleted all the time (keys) or many at a time (closes).
A_DAY = "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, vacuum_truncate = off"
# Updates are HOT and clean up after themselves; vacuum sets the visibility map and freezes what is final.
HOT = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02"
# Nothing is ever changed: vacuum only freezes, in steps.
APPEND_ONLY = "autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02"

SETTINGS = {
    "due_payments": SHORT_LIVED,
    "due_refunds": SHORT_LIVED,
    "unsettled_payments": A_DAY,
    "unsettled_refunds": A_DAY,
    "idempotency_records": A_DAY,
    "payments": HOT,
    "refunds": HOT,
    "payment_attempts": HOT,
    "refund_attempts": HOT,
    "payment_history": APPEND_ONLY,
    "payment_references": APPEND_ONLY,
    "ledger_journals": APPEND_ONLY,
    "ledger_entries": APPEND_ONLY,
    "settlement_lines": APPEND_ONLY,
}


def upgrade() -> None:
    for table, settings in SETTINGS.items():
        op.execute(f"ALTER TABLE {table} SET ({settings})")


def downgrade() -> None:
    for table, settings in SETTINGS.items():
        names = ", ".join(setting.partition("=")[0].strip() for setting in settings.split(","))
        op.execute(f"ALTER TABLE {table} RESET ({names})")
