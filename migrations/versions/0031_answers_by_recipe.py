"""Let an idempotency record have a recipe of its answer instead of the answer's body.

``workflows.requests.first_answers`` renders the body again. A record has a body, a recipe, or both: a body counts first, so a
record that the previous release overwrites (it does not know ``recipe``) is read correctly. That release fails with 500 on a
record without a body and changes nothing, and such records are written only with the setting ``render_answers``.

Each statement is its own transaction, so that the records of a day are validated without the lock of the first ones, which
lasts for milliseconds. Interrupted, the migration can be run again.
"""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE idempotency_records ADD COLUMN IF NOT EXISTS recipe text, ALTER COLUMN body DROP NOT NULL")
        op.execute("GRANT UPDATE (recipe) ON idempotency_records TO mpac_accept")
        op.execute("ALTER TABLE idempotency_records DROP CONSTRAINT IF EXISTS idempotency_records_answered")
        op.execute(
            """
            ALTER TABLE idempotency_records ADD CONSTRAINT idempotency_records_answered
                CHECK (body IS NOT NULL OR recipe IS NOT NULL) NOT VALID
            """
        )
        op.execute("ALTER TABLE idempotency_records VALIDATE CONSTRAINT idempotency_records_answered")


def downgrade() -> None:
    op.execute(
        """
        DO $$
        BEGIN
            IF EXISTS (SELECT FROM idempotency_records WHERE body IS NULL AND expires_at > now()) THEN
                RAISE EXCEPTION 'answers of the last 24 hours have no body: unset MPAC_RENDER_ANSWERS, and wait a day'
                    USING ERRCODE = 'object_not_in_prerequisite_state';
            END IF;
        END $$;
        DELETE FROM idempotency_records WHERE body IS NULL;
        ALTER TABLE idempotency_records ALTER COLUMN body SET NOT NULL, DROP COLUMN recipe;
        """
    )
