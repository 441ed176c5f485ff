"""Refuse a fee outside the amount of its payment or refund, even from a worker of the previous release.

Triggers and not CHECK constraints: a row from before would fail at its next update, for instance when its settlement closes.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION refuse_fee() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a fee of % is outside the amount of %', NEW.fee, NEW.id
                USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
        END $$;
        CREATE TRIGGER payments_fee BEFORE UPDATE OF fee ON payments FOR EACH ROW
            WHEN (NEW.fee <> OLD.fee AND NEW.fee NOT BETWEEN 0 AND NEW.captured_amount) EXECUTE FUNCTION refuse_fee();
        CREATE TRIGGER refunds_fee BEFORE UPDATE OF fee ON refunds FOR EACH ROW
            WHEN (NEW.fee <> OLD.fee AND NEW.fee NOT BETWEEN 0 AND NEW.amount) EXECUTE FUNCTION refuse_fee();
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TRIGGER payments_fee ON payments;
        DROP TRIGGER refunds_fee ON refunds;
        DROP FUNCTION refuse_fee();
        """
    )
