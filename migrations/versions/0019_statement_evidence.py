"""Store the statement's lines that ended a doubt, and let a person confirm an outcome by a line of an uploaded file.

Everything is added. The previous release never writes the new resolution, and does not read the new table.
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

RESOLUTIONS = "'link', 'adjust', 'write_off', 'ignore', 'confirm'"


def upgrade() -> None:
    op.execute(
        """
        -- The lines of a statement that were the answer about an attempt of ours whose outcome was unknown. Append-only, but for
        -- the time at which the statement that counts no longer had them.
        CREATE TABLE statement_evidence (
            entity_id text NOT NULL,
            number bigint GENERATED ALWAYS AS IDENTITY,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            attempt integer NOT NULL,
            our_reference text NOT NULL,
            provider text NOT NULL,
            settlement_id text NOT NULL CONSTRAINT statement_evidence_settlement_fk REFERENCES settlements,
            statement_id text NOT NULL CONSTRAINT statement_evidence_statement_fk REFERENCES statements,
            answer text NOT NULL CONSTRAINT statement_evidence_answer CHECK (answer IN ('succeeded', 'withdrawn')),
            status text NOT NULL,
            amount bigint NOT NULL,
            lines jsonb NOT NULL,
            at timestamptz NOT NULL,
            by text NOT NULL,
            withdrawn_at timestamptz,
            PRIMARY KEY (entity_id, number)
        );
        CREATE INDEX statement_evidence_by_settlement ON statement_evidence (settlement_id);
        ALTER TABLE statement_evidence ENABLE ROW LEVEL SECURITY;
        CREATE POLICY statement_evidence_of_caller ON statement_evidence TO mpac_caller
            USING (may_see(merchant_id, store_id));
        CREATE POLICY statement_evidence_of_all ON statement_evidence TO mpac_worker USING (true);
        GRANT SELECT ON statement_evidence TO mpac_caller;
        GRANT SELECT, INSERT, UPDATE (withdrawn_at) ON statement_evidence TO mpac_worker;
        """
    )
    # NOT VALID: every row satisfies the narrower constraint that this one replaces, so no row has to be read under this lock.
    op.execute("ALTER TABLE breaks DROP CONSTRAINT breaks_resolution")
    op.execute(
        f"ALTER TABLE breaks ADD CONSTRAINT breaks_resolution CHECK (resolution IN ({RESOLUTIONS})) NOT VALID"
    )


def downgrade() -> None:
    op.execute("DROP TABLE statement_evidence")
