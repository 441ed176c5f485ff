"""Let one request at a time requeue a dead letter: the others see until when it is reserved for that request."""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE dead_letters ADD COLUMN requeue_until timestamptz;
        GRANT UPDATE (requeue_until) ON dead_letters TO mpac_caller;
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE dead_letters DROP COLUMN requeue_until")
