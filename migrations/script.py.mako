"""${message[:1].upper()}${message[1:]}.

Say here why, how long it holds its locks on a table of millions of rows, and what the previous release does with the new schema.
"""

from alembic import op

revision = "${up_revision}"
down_revision = "${down_revision}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # lock_timeout is 3 s already (migrations/env.py). A statement that runs longer than this blocks the terminals behind its locks.
    # An index on a table in use is built CONCURRENTLY, in an autocommit_block and without these limits: see 0024.
    op.execute("SET LOCAL statement_timeout = '10s'")
    op.execute(
        """
        """
    )


def downgrade() -> None:
    op.execute(
        """
        """
    )
