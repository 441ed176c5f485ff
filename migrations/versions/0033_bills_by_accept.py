"""Let grouped requests create bills: ``mpac_accept`` may insert bills and their orders."""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("GRANT INSERT ON bills, bill_orders TO mpac_accept")


def downgrade() -> None:
    op.execute("REVOKE INSERT ON bills, bill_orders FROM mpac_accept")
