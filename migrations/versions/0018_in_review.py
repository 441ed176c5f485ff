"""Find the payments and refunds that a person has to look at without reading the tables.

A completed payment may need review too (its guest paid twice). Such a row is neither due nor in doubt, so no index led to it.

Built beside the traffic (``CONCURRENTLY``): although the index is nearly empty, each build reads its whole table. If it is
interrupted, an invalid index is left behind, so each is dropped first.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

TABLES = ("payments", "refunds")


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for older transactions, and nobody waits for it
        for table in TABLES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {table}_in_review")
            op.execute(f"CREATE INDEX CONCURRENTLY {table}_in_review ON {table} (store_id, id) WHERE needs_review")
        op.execute("SET lock_timeout = '3s'")


def downgrade() -> None:
    op.execute("DROP INDEX payments_in_review, refunds_in_review")
