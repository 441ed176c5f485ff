"""Validate the constraint on resolutions that 0019 added: validating locks nobody out, and needs a transaction of its own."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE breaks VALIDATE CONSTRAINT breaks_resolution")


def downgrade() -> None:
    """A valid constraint is what 0019 leaves behind, too."""
