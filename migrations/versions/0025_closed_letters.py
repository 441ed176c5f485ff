"""A dead letter may be closed with a reason, and may hold a message that could not be read."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE dead_letters
            ADD COLUMN message text,
            ADD COLUMN closed_at timestamptz,
            ADD COLUMN closed_by text,
            ADD COLUMN close_reason text,
            ADD CONSTRAINT dead_letters_closed_by_somebody_for_a_reason
                CHECK (num_nonnulls(closed_at, closed_by, close_reason) IN (0, 3));
        GRANT UPDATE (closed_at, closed_by, close_reason) ON dead_letters TO mpac_caller;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        ALTER TABLE dead_letters DROP COLUMN message, DROP COLUMN closed_at, DROP COLUMN closed_by,
            DROP COLUMN close_reason
        """
    )
