"""Drop the indexes on what a claim, a record and a close change, so that these updates are HOT.

| dropped                                          | instead                                                               |
|--------------------------------------------------|-----------------------------------------------------------------------|
| ``payments_due``, ``refunds_due``                | ``due_payments``, ``due_refunds`` (0027)                               |
| ``payments_unsettled``, ``refunds_unsettled``    | ``unsettled_payments``, ``unsettled_refunds``                          |
| ``…_by_provider_reference``                      | ``payment_references``, ``refund_references``                          |
| ``…_attempts_reference_key``                     | the primary key, because a reference is made of its columns (a CHECK)  |

A page of payments holds a row twice between accept and record: the old version can be removed only after the claim's commit. So
new rows fill 45 % of a page: eight of 404 bytes when accepted, 428 when claimed, 442 when final. Then all updates stay on it (at
50 %, nine of ten), and a payment takes 977 bytes instead of 1,008.

The previous release works without these indexes, but its sweeps read whole tables: during an upgrade, replace the workers of
the queues ``sweeps`` and ``settlements`` first. Before a rollback that lasts, run ``migrate 0027``, which builds the indexes
again beside the traffic.
"""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

INDEXES = {
    "{entity}s_due": "{entity}s (due_at) WHERE due_at IS NOT NULL",
    "{entity}s_unsettled": "{entity}s (store_id, currency, completed_at)"
    " WHERE settlement_id IS NULL AND completed_at IS NOT NULL",
    "{entity}s_by_provider_reference": "{entity}s USING hash (provider_reference) WHERE provider_reference IS NOT NULL",
}
ENTITIES = ("payment", "refund")
DERIVED = """
    ALTER TABLE {entity}_attempts ADD CONSTRAINT {entity}_attempts_reference_derived
        CHECK (reference = {entity}_id || ':' || number) NOT VALID
"""


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for entity in ENTITIES:
            op.execute(f"ALTER TABLE {entity}_attempts DROP CONSTRAINT IF EXISTS {entity}_attempts_reference_derived")
            op.execute(DERIVED.format(entity=entity))
            op.execute(f"ALTER TABLE {entity}_attempts VALIDATE CONSTRAINT {entity}_attempts_reference_derived")
            op.execute(f"ALTER TABLE {entity}_attempts DROP CONSTRAINT IF EXISTS {entity}_attempts_reference_key")
        op.execute("SET lock_timeout = 0")  # it waits for older transactions, and nobody waits for it
        for entity in ENTITIES:
            for name in INDEXES:
                op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name.format(entity=entity)}")
        op.execute("SET lock_timeout = '3s'")
        op.execute("ALTER TABLE payments SET (fillfactor = 45)")
        op.execute("ALTER TABLE refunds SET (fillfactor = 45)")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE payments RESET (fillfactor)")
        op.execute("ALTER TABLE refunds RESET (fillfactor)")
        op.execute("SET lock_timeout = 0")
        for entity in ENTITIES:
            for name, definition in INDEXES.items():
                op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name.format(entity=entity)}")
                op.execute(f"CREATE INDEX CONCURRENTLY {name.format(entity=entity)} ON {definition.format(entity=entity)}")
            key = f"{entity}_attempts_reference_key"
            op.execute(f"ALTER TABLE {entity}_attempts DROP CONSTRAINT IF EXISTS {key}")
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {key}")
            op.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {key} ON {entity}_attempts (reference)")
            op.execute(f"ALTER TABLE {entity}_attempts ADD CONSTRAINT {key} UNIQUE USING INDEX {key}")
            op.execute(f"ALTER TABLE {entity}_attempts DROP CONSTRAINT IF EXISTS {entity}_attempts_reference_derived")
        op.execute("SET lock_timeout = '3s'")
