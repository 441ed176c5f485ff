"""Worker processes and when each was last seen and last consumed a message, and the API's right to send canaries.

The API notes the canaries that it sends, so that a queue's silence does not depend on a worker that may be silent itself. A
worker of the previous release has no row here; its queues are watched as before.
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE workers (
            name text PRIMARY KEY,
            queues text[] NOT NULL,
            seen_at timestamptz NOT NULL,
            heard_at timestamptz
        ) WITH (fillfactor = 50);  -- a row is updated every few seconds and no index is touched
        GRANT SELECT, INSERT, UPDATE, DELETE ON workers TO mpac_worker;
        GRANT SELECT ON workers TO mpac_accept;
        GRANT INSERT, UPDATE ON canaries TO mpac_accept;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        REVOKE INSERT, UPDATE ON canaries FROM mpac_accept;
        DROP TABLE workers;
        """
    )
