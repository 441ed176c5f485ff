"""Reset the caller of an expired idempotency record that the previous release overwrites.

That release does not know ``caller`` and ``meaning``, so both would go on describing the request before: its caller would be
given the answer that was made for another one. Without them the record counts as one of the previous release
(``made_by``). An overwrite by this release resets them too if the request means the same, which the bytes decide then.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION forget_caller() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.caller := '';
            NEW.meaning := NULL;
            RETURN NEW;
        END $$;
        CREATE TRIGGER idempotency_records_overwritten BEFORE UPDATE ON idempotency_records FOR EACH ROW
            WHEN (NEW.created_at <> OLD.created_at AND NEW.meaning IS NOT DISTINCT FROM OLD.meaning AND OLD.caller <> '')
            EXECUTE FUNCTION forget_caller();
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TRIGGER idempotency_records_overwritten ON idempotency_records;
        DROP FUNCTION forget_caller();
        """
    )
