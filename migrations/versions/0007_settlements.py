"""Settlement periods; their lines, statements and breaks come with the third part."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE settlements (
            id text PRIMARY KEY,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            currency text NOT NULL,
            business_date date NOT NULL,
            start_at timestamptz NOT NULL,
            end_at timestamptz NOT NULL,
            status text NOT NULL CONSTRAINT settlements_status CHECK (status IN ('open', 'closed', 'reconciled')),
            version integer NOT NULL,
            created_at timestamptz NOT NULL,
            closed_at timestamptz,
            reconciled_at timestamptz,
            reconciled_by text,
            CONSTRAINT settlements_period_key UNIQUE (store_id, currency, start_at),
            CONSTRAINT settlements_period_not_empty CHECK (end_at > start_at)
        );

        CREATE TRIGGER settlements_initial BEFORE INSERT ON settlements FOR EACH ROW
            WHEN (NEW.status <> ALL (ARRAY['open'])) EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER settlements_edges BEFORE UPDATE ON settlements FOR EACH ROW
            WHEN (OLD.status <> NEW.status AND (OLD.status || '>' || NEW.status) <> ALL (ARRAY[
                'open>closed', 'closed>reconciled']))
            EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER settlements_version BEFORE UPDATE ON settlements FOR EACH ROW
            WHEN (NEW.version < OLD.version OR (NEW.status <> OLD.status AND NEW.version = OLD.version))
            EXECUTE FUNCTION refuse_version();

        CREATE TABLE settlement_history (
            settlement_id text NOT NULL,
            version integer NOT NULL,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            event text NOT NULL,
            from_status text,
            to_status text NOT NULL,
            at timestamptz NOT NULL,
            caller_type text NOT NULL,
            caller_id text NOT NULL,
            reason text,
            request_id text,
            PRIMARY KEY (settlement_id, version)
        );
        CREATE TRIGGER settlement_history_append_only BEFORE UPDATE OR DELETE ON settlement_history
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

        ALTER TABLE settlements ENABLE ROW LEVEL SECURITY;
        CREATE POLICY settlements_of_caller ON settlements TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY settlements_of_all ON settlements TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE settlement_history ENABLE ROW LEVEL SECURITY;
        CREATE POLICY settlement_history_of_caller ON settlement_history TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY settlement_history_of_all ON settlement_history TO mpac_accept, mpac_worker, mpac_sweep USING (true);

        GRANT SELECT ON settlements, settlement_history TO mpac_caller, mpac_sweep;
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE settlement_history, settlements")
