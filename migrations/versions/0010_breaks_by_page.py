"""Breaks are read page by page: a settlement may have a million of them, and a page must not sort them all."""

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
        CREATE INDEX breaks_open ON breaks (settlement_id, run, id) WHERE resolution IS NULL;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX breaks_open;
        CREATE INDEX breaks_open ON breaks (settlement_id, run) WHERE resolution IS NULL;
        DROP INDEX breaks_by_settlement;
        """
    )
