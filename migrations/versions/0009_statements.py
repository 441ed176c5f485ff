"""Statements of providers with their raw files, runs of reconciliation, and breaks."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = ("statements", "statement_chunks", "statement_lines", "reconciliation_runs", "breaks", "reconciliation_tries")


def upgrade() -> None:
    op.execute(
        """
        -- A file of one provider for one settlement. The newest per provider counts; none is ever changed.
        CREATE TABLE statements (
            id text PRIMARY KEY,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            settlement_id text NOT NULL CONSTRAINT statements_settlement_fk REFERENCES settlements,
            number integer NOT NULL,
            provider text NOT NULL,
            source text NOT NULL CONSTRAINT statements_source CHECK (source IN ('api', 'upload')),
            format text NOT NULL CONSTRAINT statements_format CHECK (format IN ('csv', 'json_lines')),
            mapping jsonb NOT NULL,
            sha256 text NOT NULL,
            size_bytes bigint NOT NULL,
            line_count integer NOT NULL,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            CONSTRAINT statements_number_key UNIQUE (settlement_id, number)
        );

        -- The raw file, in pieces: in the database, so that one backup and one transaction hold file and lines together
        -- (large objects know neither row-level security nor foreign keys; a folder is another machine's).
        CREATE TABLE statement_chunks (
            statement_id text NOT NULL CONSTRAINT statement_chunks_statement_fk REFERENCES statements,
            number integer NOT NULL,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            data bytea NOT NULL,
            PRIMARY KEY (statement_id, number)
        );

        CREATE TABLE statement_lines (
            statement_id text NOT NULL CONSTRAINT statement_lines_statement_fk REFERENCES statements,
            line_number integer NOT NULL,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            kind text NOT NULL CONSTRAINT statement_lines_kind CHECK (kind IN ('payment', 'refund', 'reversal')),
            is_settled boolean NOT NULL,
            our_reference text,
            provider_reference text,
            amount bigint NOT NULL,
            currency text NOT NULL,
            fee bigint,
            occurred_at timestamptz,
            occurred_on date,
            PRIMARY KEY (statement_id, line_number),
            CONSTRAINT statement_lines_one_reference CHECK (our_reference IS NOT NULL OR provider_reference IS NOT NULL)
        );

        -- How a merchant's files of a provider are to be read, as it was last declared.
        CREATE TABLE statement_mappings (
            merchant_id text NOT NULL,
            provider text NOT NULL,
            mapping jsonb NOT NULL,
            changed_at timestamptz NOT NULL,
            changed_by text NOT NULL,
            PRIMARY KEY (merchant_id, provider)
        );

        CREATE TABLE reconciliation_runs (
            settlement_id text NOT NULL CONSTRAINT reconciliation_runs_settlement_fk REFERENCES settlements,
            number integer NOT NULL,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            at timestamptz NOT NULL,
            caller_type text NOT NULL,
            caller_id text NOT NULL,
            statement_ids text[] NOT NULL,
            summary jsonb NOT NULL,
            PRIMARY KEY (settlement_id, number)
        );

        -- A difference. Its identity is what differs and by how much, so a later run that finds it again finds its
        -- resolution too; run is the last run that saw it. It is open while that is the settlement's last run.
        CREATE TABLE breaks (
            id text PRIMARY KEY,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            settlement_id text NOT NULL CONSTRAINT breaks_settlement_fk REFERENCES settlements,
            identity text NOT NULL,
            run integer NOT NULL,
            category text NOT NULL CONSTRAINT breaks_category CHECK (category IN (
                'missing_at_provider', 'missing_internally', 'amount_mismatch', 'currency_mismatch', 'status_mismatch',
                'fee_mismatch', 'duplicate_internal', 'duplicate_provider', 'date_mismatch')),
            provider text NOT NULL,
            kind text NOT NULL,
            entity_id text,
            our_reference text,
            provider_reference text,
            currency text NOT NULL,
            ours bigint,
            theirs bigint,
            difference bigint NOT NULL,
            fee_difference bigint NOT NULL,
            our_line jsonb,
            their_line jsonb,
            opened_at timestamptz NOT NULL,
            owner text NOT NULL,
            resolution text CONSTRAINT breaks_resolution CHECK (resolution IN ('link', 'adjust', 'write_off', 'ignore')),
            note text,
            reference text,
            resolved_at timestamptz,
            resolved_by text,
            CONSTRAINT breaks_identity_key UNIQUE (settlement_id, identity),
            CONSTRAINT breaks_resolved_by_somebody CHECK ((resolution IS NULL) = (resolved_by IS NULL)
                AND (resolution IS NULL) = (resolved_at IS NULL))
        );
        CREATE INDEX breaks_open ON breaks (settlement_id, run) WHERE resolution IS NULL;

        CREATE INDEX settlements_closed ON settlements (end_at) WHERE status = 'closed';

        -- When the workers last tried to reconcile by themselves, and when they are to try again.
        CREATE TABLE reconciliation_tries (
            settlement_id text PRIMARY KEY CONSTRAINT reconciliation_tries_settlement_fk REFERENCES settlements,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            tries integer NOT NULL,
            due_at timestamptz,
            trouble text
        );
        """
    )
    for table in TABLES:
        op.execute(
            f"""
            ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
            CREATE POLICY {table}_of_caller ON {table} TO mpac_caller USING (may_see(merchant_id, store_id));
            CREATE POLICY {table}_of_all ON {table} TO mpac_worker, mpac_sweep USING (true);
            """
        )
    op.execute(
        """
        ALTER TABLE statement_mappings ENABLE ROW LEVEL SECURITY;
        CREATE POLICY statement_mappings_of_caller ON statement_mappings TO mpac_caller
            USING (CASE current_setting('mpac.scope', true)
                WHEN 'system' THEN true
                WHEN 'psp' THEN psp_of(merchant_id) = current_setting('mpac.psp_id', true)
                WHEN 'merchant' THEN merchant_id = current_setting('mpac.merchant_id', true)
                WHEN 'store' THEN merchant_id = current_setting('mpac.merchant_id', true)
                ELSE false
            END);
        CREATE POLICY statement_mappings_of_all ON statement_mappings TO mpac_worker USING (true);

        GRANT SELECT, INSERT ON statements, statement_chunks, statement_lines, reconciliation_runs
            TO mpac_caller, mpac_worker;
        GRANT SELECT, INSERT, UPDATE ON statement_mappings, reconciliation_tries TO mpac_caller, mpac_worker;
        GRANT SELECT, INSERT ON breaks TO mpac_caller, mpac_worker;
        -- What a break says is what a run found; a caller adds who sees to it and how it ended.
        GRANT UPDATE (run, owner, resolution, note, reference, resolved_at, resolved_by) ON breaks
            TO mpac_caller, mpac_worker;
        GRANT SELECT ON statements, reconciliation_runs, reconciliation_tries, breaks TO mpac_sweep;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX settlements_closed;
        DROP TABLE reconciliation_tries, breaks, reconciliation_runs, statement_mappings, statement_lines,
            statement_chunks, statements
        """
    )
