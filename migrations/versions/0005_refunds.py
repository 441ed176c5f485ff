"""Refunds: a payment's shape, in the other direction, in a table of its own."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE refunds (
            id text PRIMARY KEY,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            payment_id text NOT NULL CONSTRAINT refunds_payment_fk REFERENCES payments,
            settlement_id text,
            status text NOT NULL CONSTRAINT refunds_status
                CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
            version integer NOT NULL,
            amount bigint NOT NULL CONSTRAINT refunds_amount_positive CHECK (amount > 0),
            currency text NOT NULL,
            fee bigint NOT NULL DEFAULT 0,
            reason text NOT NULL,
            staff_code text NOT NULL,
            metadata jsonb NOT NULL DEFAULT '{}',
            provider text NOT NULL,
            provider_reference text,
            failure_code text,
            failure_message text,
            outcome_known boolean NOT NULL DEFAULT true,
            in_doubt_since timestamptz,
            needs_review boolean NOT NULL DEFAULT false,
            due_at timestamptz,
            lease_until timestamptz,
            fence integer NOT NULL DEFAULT 0,
            unanswered_claims integer NOT NULL DEFAULT 0,
            attempts integer NOT NULL DEFAULT 0,
            inquiries integer NOT NULL DEFAULT 0,
            request_id text,
            created_at timestamptz NOT NULL,
            processing_at timestamptz,
            completed_at timestamptz,
            failed_at timestamptz,
            CONSTRAINT refunds_known_when_final
                CHECK (status IN ('pending', 'processing') OR (outcome_known AND lease_until IS NULL AND due_at IS NULL))
        );
        CREATE INDEX refunds_by_payment ON refunds (payment_id, id);
        CREATE INDEX refunds_by_store ON refunds (store_id, id);
        CREATE INDEX refunds_due ON refunds (due_at) WHERE due_at IS NOT NULL;

        CREATE TRIGGER refunds_initial BEFORE INSERT ON refunds FOR EACH ROW
            WHEN (NEW.status <> ALL (ARRAY['pending'])) EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER refunds_edges BEFORE UPDATE ON refunds FOR EACH ROW
            WHEN (OLD.status <> NEW.status AND (OLD.status || '>' || NEW.status) <> ALL (ARRAY[
                'pending>processing', 'processing>completed', 'processing>failed']))
            EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER refunds_version BEFORE UPDATE ON refunds FOR EACH ROW
            WHEN (NEW.version < OLD.version OR (NEW.status <> OLD.status AND NEW.version = OLD.version))
            EXECUTE FUNCTION refuse_version();

        CREATE TABLE refund_history (
            refund_id text NOT NULL,
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
            PRIMARY KEY (refund_id, version)
        );
        CREATE TRIGGER refund_history_append_only BEFORE UPDATE OR DELETE ON refund_history
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

        CREATE TABLE refund_attempts (
            refund_id text NOT NULL,
            number integer NOT NULL,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            provider text NOT NULL,
            reference text NOT NULL CONSTRAINT refund_attempts_reference_key UNIQUE,
            sent_at timestamptz NOT NULL,
            answered_at timestamptz,
            outcome text CONSTRAINT refund_attempts_outcome CHECK (outcome IN
                ('succeeded', 'declined', 'action_required', 'unavailable', 'unknown', 'not_found')),
            provider_reference text,
            code text,
            message text,
            resends integer NOT NULL DEFAULT 0,
            not_found_at timestamptz,
            PRIMARY KEY (refund_id, number)
        ) WITH (fillfactor = 50);  -- as payment_attempts

        CREATE TABLE refund_messages (
            refund_id text NOT NULL,
            number bigint GENERATED ALWAYS AS IDENTITY,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            attempt integer,
            kind text NOT NULL CONSTRAINT refund_messages_kind CHECK (kind IN ('inquiry', 'resend', 'late_answer')),
            answer text NOT NULL,
            detail jsonb NOT NULL DEFAULT '{}',
            at timestamptz NOT NULL,
            PRIMARY KEY (refund_id, number)
        );

        ALTER TABLE refund_attempts ENABLE ROW LEVEL SECURITY;
        CREATE POLICY refund_attempts_of_caller ON refund_attempts TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY refund_attempts_of_all ON refund_attempts TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE refund_messages ENABLE ROW LEVEL SECURITY;
        CREATE POLICY refund_messages_of_caller ON refund_messages TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY refund_messages_of_all ON refund_messages TO mpac_accept, mpac_worker, mpac_sweep USING (true);

        ALTER TABLE refunds ENABLE ROW LEVEL SECURITY;
        CREATE POLICY refunds_of_caller ON refunds TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY refunds_of_all ON refunds TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE refund_history ENABLE ROW LEVEL SECURITY;
        CREATE POLICY refund_history_of_caller ON refund_history TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY refund_history_of_all ON refund_history TO mpac_accept, mpac_worker, mpac_sweep USING (true);

        GRANT SELECT, INSERT ON refunds, refund_history TO mpac_caller;
        GRANT SELECT ON refund_attempts, refund_messages TO mpac_caller;
        -- A caller reserves what it wants back; all else of a payment stays as it is.
        GRANT UPDATE (refund_reserved) ON payments TO mpac_caller;
        GRANT UPDATE (version, due_at, unanswered_claims, status) ON refunds TO mpac_caller;
        GRANT SELECT, INSERT, UPDATE ON refunds, refund_attempts TO mpac_worker;
        GRANT SELECT, INSERT ON refund_history, refund_messages TO mpac_worker;
        GRANT SELECT ON refunds TO mpac_accept, mpac_sweep;
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE refund_messages, refund_attempts, refund_history, refunds")
