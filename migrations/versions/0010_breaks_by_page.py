"""Breaks are read page by page: a settlement may have a million of them, and a page must not sort them all.

The index of open ones goes: it held the run, which each run changes, so that every break found again was written to all
indexes; and the pages' own index finds the open ones as well.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE INDEX breaks_by_settlement ON breaks (settlement_id, id);
        DROP INDEX breaks_open;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        CREATE INDEX breaks_open ON breaks (settlement_id, run) WHERE resolution IS NULL;
        DROP INDEX breaks_by_settlement;
        """
    )
