"""Store what a break waits for, both adjustments of a correction, uncompared lines, and statement policies.

Everything is added: the previous release neither reads nor writes these columns, and its rows are valid here.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        -- A break whose line quotes a payment or refund that was not final when the run looked; the settlement is compared
        -- again once it is.
        ALTER TABLE breaks ADD COLUMN waits_for text;
        -- The adjustment in the currency of their line, where that is not the settlement's: a correction has two sides.
        ALTER TABLE breaks ADD COLUMN other_reference text;
        CREATE INDEX breaks_waiting ON breaks (settlement_id) WHERE waits_for IS NOT NULL AND resolution IS NULL;
        CREATE INDEX breaks_by_reference ON breaks (reference) WHERE reference IS NOT NULL;
        GRANT UPDATE (waits_for, other_reference) ON breaks TO mpac_caller, mpac_worker;

        -- Only of corrections, so that the million lines of a close do not meet it.
        CREATE INDEX settlement_lines_corrections ON settlement_lines (store_id) WHERE kind = 'adjustment';

        -- What the last run could not compare, by provider, and who accepted that; see workflows.settlements.uncompared.
        ALTER TABLE settlements ADD COLUMN uncompared jsonb;
        GRANT UPDATE (uncompared) ON settlements TO mpac_caller, mpac_worker;

        -- Which providers send a store no statements. Append-only, the newest row of a provider counts: it is its own audit.
        CREATE TABLE statement_policies (
            store_id text NOT NULL CONSTRAINT statement_policies_store_fk REFERENCES stores,
            provider text NOT NULL,
            number integer NOT NULL,
            merchant_id text NOT NULL,
            statements text NOT NULL CONSTRAINT statement_policies_statements CHECK (statements IN ('expected', 'none')),
            note text NOT NULL,
            changed_at timestamptz NOT NULL,
            changed_by text NOT NULL,
            PRIMARY KEY (store_id, provider, number)
        );
        CREATE TRIGGER statement_policies_append_only BEFORE UPDATE OR DELETE ON statement_policies
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
        ALTER TABLE statement_policies ENABLE ROW LEVEL SECURITY;
        CREATE POLICY statement_policies_of_caller ON statement_policies TO mpac_caller
            USING (may_see(merchant_id, store_id));
        CREATE POLICY statement_policies_of_all ON statement_policies TO mpac_worker, mpac_sweep USING (true);
        GRANT SELECT, INSERT ON statement_policies TO mpac_caller;
        GRANT SELECT ON statement_policies TO mpac_worker, mpac_sweep;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE statement_policies;
        DROP INDEX settlement_lines_corrections, breaks_by_reference, breaks_waiting;
        ALTER TABLE settlements DROP COLUMN uncompared;
        ALTER TABLE breaks DROP COLUMN other_reference, DROP COLUMN waits_for;
        """
    )
