"""Scope idempotency keys to their caller, and compare requests by their meaning.

The previous release goes on inserting and reading by the primary key ``(merchant_id, key, path, method)``, so that key
stays: the first caller of a merchant to use a key has its record there, and any other caller's record is stored beside it
under ``key || chr(10) || caller`` (a key never contains a line feed). Records of the previous release have an empty
``caller`` and no ``meaning``; ``made_by`` tells whose they are from what they answer for.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        r"""
        ALTER TABLE idempotency_records ADD COLUMN caller text NOT NULL DEFAULT '', ADD COLUMN meaning text;
        GRANT UPDATE (caller, meaning) ON idempotency_records TO mpac_accept;

        -- SECURITY DEFINER: roles that keep records may not read all of these tables.
        CREATE FUNCTION made_by(resource text, path text) RETURNS text
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
            SELECT CASE split_part(resource, '_', 1)
                WHEN 'pay' THEN (SELECT caller_type || ' ' || caller_id FROM payment_history
                                 WHERE payment_id = resource AND version = 1)
                WHEN 'rfd' THEN (SELECT caller_type || ' ' || caller_id FROM refund_history
                                 WHERE refund_id = resource AND version = 1)
                WHEN 'ord' THEN (SELECT caller_type || ' ' || caller_id FROM order_history
                                 WHERE order_id = resource AND version = 1)
                WHEN 'bil' THEN (SELECT caller_type || ' ' || caller_id FROM bill_history
                                 WHERE bill_id = resource
                                   AND CASE WHEN path LIKE '%/split' THEN event = 'void' AND reason = 'split'
                                            ELSE version = 1 END)
                WHEN 'stm' THEN (SELECT 'user ' || created_by FROM statements WHERE id = resource)
            END
        $$;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DELETE FROM idempotency_records WHERE key LIKE '%' || chr(10) || '%';
        DROP FUNCTION made_by(text, text);
        ALTER TABLE idempotency_records DROP COLUMN caller, DROP COLUMN meaning;
        """
    )
