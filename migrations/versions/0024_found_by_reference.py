"""Find payments and refunds by the provider's reference, payments by a card's last digits and by their date.

Built beside the traffic (``CONCURRENTLY``), because each of them reads the whole table: a plain build of two million rows stops
all writes for nine seconds. If it is interrupted, an invalid index is left behind, so each is dropped first.

References are hashed: a B-tree refuses values above 2,700 bytes, and no answer of a provider may fail to be recorded because
its reference is long. Dates need a BRIN only: rows are in the order of their dates, and it costs a write next to nothing.
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

INDEXES = {
    "payments_by_provider_reference": "payments USING hash (provider_reference) WHERE provider_reference IS NOT NULL",
    "refunds_by_provider_reference": "refunds USING hash (provider_reference) WHERE provider_reference IS NOT NULL",
    "payments_by_card": "payments (card_last_4, id) WHERE card_last_4 IS NOT NULL",
    "payments_by_creation": "payments USING brin (created_at) WITH (pages_per_range = 32)",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for older transactions, and nobody waits for it
        for name, definition in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
        op.execute("SET lock_timeout = '3s'")


def downgrade() -> None:
    op.execute(f"DROP INDEX {', '.join(INDEXES)}")
