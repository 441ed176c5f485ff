"""Find the rows whose id and ``created_at`` were made at different times.

Lists between two times read the ids of that time, which need no index of their own. A row whose two times are more than 15
seconds apart would be missed: it is in one of these indexes, and a list that finds one there does not rely on ids. They are
empty as long as the clocks of the database and of the processes agree, so they cost a write a comparison and no WAL.

Built beside the traffic (``CONCURRENTLY``), because each build reads a whole table. If it is interrupted, an invalid index is
left behind, so each is dropped first.
"""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

PREFIXES = {"payments": "pay", "refunds": "rfd", "orders": "ord", "bills": "bil"}
AT = "(extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for older transactions, and nobody waits for it
        for table, prefix in PREFIXES.items():
            low, high = (f"'{prefix}_' || lpad(to_hex({AT} {sign} 15000), 12, '0')" for sign in "-+")
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {table}_apart")
            op.execute(
                f"CREATE INDEX CONCURRENTLY {table}_apart ON {table} (created_at) WHERE id < {low} OR id > {high}"
            )
        op.execute("SET lock_timeout = '3s'")


def downgrade() -> None:
    op.execute(f"DROP INDEX {', '.join(f'{table}_apart' for table in PREFIXES)}")
