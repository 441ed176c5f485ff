"""Let grouped requests create refunds: ``mpac_accept`` may reserve a refund on a payment and insert refunds."""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        GRANT INSERT ON refunds, refund_history TO mpac_accept;
        GRANT UPDATE (refund_reserved) ON payments TO mpac_accept;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        REVOKE INSERT ON refunds, refund_history FROM mpac_accept;
        REVOKE UPDATE (refund_reserved) ON payments FROM mpac_accept;
        """
    )
