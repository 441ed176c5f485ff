"""The serial number of a deactivated device can be registered again, at any store.

The unique index keeps the name of the constraint it replaces: that is how the release before this one recognises a serial
number that is taken.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE devices DROP CONSTRAINT devices_serial_number_key;
        CREATE UNIQUE INDEX devices_serial_number_key ON devices (serial_number) WHERE status <> 'deactivated';
        -- For the activation, which has to tell a deactivated device from none.
        CREATE INDEX devices_by_serial_number ON devices (serial_number);
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX devices_by_serial_number;
        DROP INDEX devices_serial_number_key;
        ALTER TABLE devices ADD CONSTRAINT devices_serial_number_key UNIQUE (serial_number);
        """
    )
