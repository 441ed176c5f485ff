"""Messages for calls that keep their reference and for reversals; a cancel restarts the schedule of questions."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KINDS = {
    "payment": ("inquiry", "withdrawal", "reversal", "first_answer", "resend", "late_answer", "late_success"),
    "refund": ("inquiry", "first_answer", "resend", "late_answer"),
}


def upgrade() -> None:
    for entity, kinds in KINDS.items():
        listed = ", ".join(f"'{kind}'" for kind in kinds)
        # NOT VALID: every row there satisfies the narrower constraint that this one replaces, so no row has to be read.
        op.execute(f"ALTER TABLE {entity}_messages DROP CONSTRAINT {entity}_messages_kind")
        op.execute(
            f"ALTER TABLE {entity}_messages ADD CONSTRAINT {entity}_messages_kind CHECK (kind IN ({listed})) NOT VALID"
        )
    op.execute("GRANT UPDATE (inquiries) ON payments TO mpac_caller")


def downgrade() -> None:
    op.execute("REVOKE UPDATE (inquiries) ON payments FROM mpac_caller")
