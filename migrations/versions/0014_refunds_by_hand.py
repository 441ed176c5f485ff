"""Refunds that a person carries out, and payments whose money does not count towards their bill.

A cash or terminal card sale is given back at the till. Until the terminal reports that, such a refund stays ``pending``
with ``needs_action``: no worker takes it up, and nothing is due. ``payments.off_bill`` marks a completed payment whose
reservation on its bill was released, because its refund was recorded together with its completion.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE refunds
            ADD COLUMN needs_action boolean NOT NULL DEFAULT false,
            ADD COLUMN report jsonb,
            ADD COLUMN reported_at timestamptz;
        -- A worker of the previous release that is handed such a refund must not complete it by itself.
        ALTER TABLE refunds ADD CONSTRAINT refunds_action_while_pending
            CHECK (NOT needs_action OR (status = 'pending' AND due_at IS NULL)) NOT VALID;
        ALTER TABLE refunds VALIDATE CONSTRAINT refunds_action_while_pending;
        -- Added by 0011. Validating locks nobody out; SQLAlchemy cannot reflect what is not valid.
        ALTER TABLE payment_messages VALIDATE CONSTRAINT payment_messages_kind;
        ALTER TABLE refund_messages VALIDATE CONSTRAINT refund_messages_kind;
        CREATE INDEX refunds_needing_action ON refunds (store_id, id) WHERE needs_action;
        ALTER TABLE payments
            ADD COLUMN needs_action boolean NOT NULL DEFAULT false,
            ADD COLUMN off_bill boolean NOT NULL DEFAULT false;

        GRANT UPDATE (needs_action) ON payments TO mpac_caller;
        GRANT UPDATE (needs_action, report, reported_at) ON refunds TO mpac_caller;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        ALTER TABLE payments DROP COLUMN needs_action, DROP COLUMN off_bill;
        ALTER TABLE refunds DROP COLUMN needs_action, DROP COLUMN report, DROP COLUMN reported_at;
        """
    )
