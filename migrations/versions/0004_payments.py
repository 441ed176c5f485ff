"""Payments with their history, attempts, inquiries, evidence and idempotency records; dead letters and canaries."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE payments (
            id text PRIMARY KEY,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            device_id text,
            bill_id text,
            order_id text,
            settlement_id text,
            status text NOT NULL CONSTRAINT payments_status
                CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled', 'refunded')),
            version integer NOT NULL,

            amount bigint NOT NULL CONSTRAINT payments_amount_positive CHECK (amount > 0),
            tip_amount bigint NOT NULL DEFAULT 0 CONSTRAINT payments_tip_not_negative CHECK (tip_amount >= 0),
            currency text NOT NULL,
            captured_amount bigint NOT NULL DEFAULT 0,
            refunded_amount bigint NOT NULL DEFAULT 0,
            refund_reserved bigint NOT NULL DEFAULT 0,
            fee bigint NOT NULL DEFAULT 0,

            method_type text NOT NULL,
            method_mode text,
            processing_mode text NOT NULL
                CONSTRAINT payments_processing_mode CHECK (processing_mode IN ('manual', 'external', 'provider')),
            provider text NOT NULL,
            provider_token text,
            provider_reference text,
            approval_code text,
            card_brand text,
            card_last_4 text,
            entry_method text,
            slip_number text,
            card_arn text,
            external_result text,
            cash_received bigint,
            change_amount bigint,
            client_reference text,
            metadata jsonb NOT NULL DEFAULT '{}',

            next_action jsonb,
            failure_code text,
            failure_message text,
            cancel_requested_at timestamptz,
            cancel_reason text,
            cancel_outcome text,
            on_too_late text,
            outcome_known boolean NOT NULL DEFAULT true,
            in_doubt_since timestamptz,
            needs_review boolean NOT NULL DEFAULT false,

            -- The worker's own columns. due_at: when somebody should look at this row next; nothing waits on a final row.
            due_at timestamptz,
            lease_until timestamptz,
            fence integer NOT NULL DEFAULT 0,
            unanswered_claims integer NOT NULL DEFAULT 0,
            attempts integer NOT NULL DEFAULT 0,
            inquiries integer NOT NULL DEFAULT 0,
            request_id text,

            expires_at timestamptz NOT NULL,
            created_at timestamptz NOT NULL,
            processing_at timestamptz,
            completed_at timestamptz,
            failed_at timestamptz,
            cancelled_at timestamptz,
            refunded_at timestamptz,

            CONSTRAINT payments_refunds_within_captured
                CHECK (refunded_amount >= 0 AND refund_reserved >= refunded_amount AND refund_reserved <= captured_amount),
            CONSTRAINT payments_known_when_final
                CHECK (status IN ('pending', 'processing') OR (outcome_known AND lease_until IS NULL AND due_at IS NULL)),
            CONSTRAINT payments_captured_when_completed
                CHECK ((status IN ('completed', 'refunded')) = (captured_amount > 0))
        );
        CREATE UNIQUE INDEX payments_client_reference_key ON payments (merchant_id, client_reference)
            WHERE client_reference IS NOT NULL;
        CREATE INDEX payments_by_store ON payments (store_id, id);
        CREATE INDEX payments_due ON payments (due_at) WHERE due_at IS NOT NULL;

        CREATE TRIGGER payments_initial BEFORE INSERT ON payments FOR EACH ROW
            WHEN (NEW.status <> ALL (ARRAY['pending'])) EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER payments_edges BEFORE UPDATE ON payments FOR EACH ROW
            WHEN (OLD.status <> NEW.status AND (OLD.status || '>' || NEW.status) <> ALL (ARRAY[
                'pending>processing', 'processing>completed', 'processing>failed', 'processing>cancelled',
                'completed>refunded']))
            EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER payments_version BEFORE UPDATE ON payments FOR EACH ROW
            WHEN (NEW.version < OLD.version OR (NEW.status <> OLD.status AND NEW.version = OLD.version))
            EXECUTE FUNCTION refuse_version();

        CREATE TABLE payment_history (
            payment_id text NOT NULL,
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
            PRIMARY KEY (payment_id, version)
        );
        CREATE TRIGGER payment_history_append_only BEFORE UPDATE OR DELETE ON payment_history
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

        -- One claim to ask a provider for money, and its outcome. Written before the call, so a death leaves a trace.
        CREATE TABLE payment_attempts (
            payment_id text NOT NULL,
            number integer NOT NULL,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            provider text NOT NULL,
            reference text NOT NULL CONSTRAINT payment_attempts_reference_key UNIQUE,
            sent_at timestamptz NOT NULL,
            answered_at timestamptz,
            outcome text CONSTRAINT payment_attempts_outcome CHECK (outcome IN
                ('succeeded', 'declined', 'action_required', 'unavailable', 'unknown', 'withdrawn', 'not_found')),
            provider_reference text,
            code text,
            message text,
            resends integer NOT NULL DEFAULT 0,
            not_found_at timestamptz,
            PRIMARY KEY (payment_id, number)
        ) WITH (fillfactor = 50);  -- each row is updated once, soon: its answer then finds room beside it and no index is touched

        -- What was asked about an attempt after its call, and answers that came too late to be recorded (evidence).
        CREATE TABLE payment_messages (
            payment_id text NOT NULL,
            number bigint GENERATED ALWAYS AS IDENTITY,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            attempt integer,
            kind text NOT NULL CONSTRAINT payment_messages_kind CHECK (kind IN
                ('inquiry', 'withdrawal', 'resend', 'late_answer', 'late_success')),
            answer text NOT NULL,
            detail jsonb NOT NULL DEFAULT '{}',
            at timestamptz NOT NULL,
            PRIMARY KEY (payment_id, number)
        );

        CREATE TABLE idempotency_records (
            merchant_id text NOT NULL,
            method text NOT NULL,
            path text NOT NULL,
            key text NOT NULL,
            fingerprint text NOT NULL,
            status integer NOT NULL,
            body text NOT NULL,
            resource_id text,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (merchant_id, key, path, method)
        );
        CREATE INDEX idempotency_records_by_expiry ON idempotency_records (expires_at);

        CREATE TABLE dead_letters (
            id text PRIMARY KEY,
            task text NOT NULL,
            task_id text,
            arguments jsonb NOT NULL,
            entity_id text,
            deliveries integer NOT NULL,
            reason text NOT NULL,
            traceback text,
            created_at timestamptz NOT NULL,
            requeued_at timestamptz,
            requeued_by text
        );
        CREATE INDEX dead_letters_open ON dead_letters (created_at) WHERE requeued_at IS NULL;

        -- A message sent through each queue now and then: an old one means that nobody consumes there.
        CREATE TABLE canaries (
            queue text PRIMARY KEY,
            sent_at timestamptz NOT NULL,
            consumed_at timestamptz,
            worker text
        );

        CREATE TABLE switches (
            name text PRIMARY KEY,
            is_on boolean NOT NULL,
            message text,
            changed_by text NOT NULL,
            changed_at timestamptz NOT NULL
        );

        -- What belongs to no tenant is shown to system operators alone.
        ALTER TABLE dead_letters ENABLE ROW LEVEL SECURITY;
        CREATE POLICY dead_letters_of_operators ON dead_letters TO mpac_caller
            USING (current_setting('mpac.scope', true) = 'system');
        CREATE POLICY dead_letters_of_all ON dead_letters TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE switches ENABLE ROW LEVEL SECURITY;
        CREATE POLICY switches_of_operators ON switches TO mpac_caller
            USING (current_setting('mpac.scope', true) = 'system');
        CREATE POLICY switches_of_all ON switches TO mpac_accept, mpac_worker, mpac_sweep USING (true);

        ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
        CREATE POLICY payments_of_caller ON payments TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY payments_of_all ON payments TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE payment_history ENABLE ROW LEVEL SECURITY;
        CREATE POLICY payment_history_of_caller ON payment_history TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY payment_history_of_all ON payment_history TO mpac_accept, mpac_worker USING (true);
        ALTER TABLE payment_attempts ENABLE ROW LEVEL SECURITY;
        CREATE POLICY payment_attempts_of_caller ON payment_attempts TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY payment_attempts_of_all ON payment_attempts TO mpac_worker USING (true);
        ALTER TABLE payment_messages ENABLE ROW LEVEL SECURITY;
        CREATE POLICY payment_messages_of_caller ON payment_messages TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY payment_messages_of_all ON payment_messages TO mpac_worker USING (true);
        ALTER TABLE idempotency_records ENABLE ROW LEVEL SECURITY;
        CREATE POLICY idempotency_records_of_caller ON idempotency_records TO mpac_caller
            USING (CASE current_setting('mpac.scope', true)
                WHEN 'system' THEN true
                WHEN 'psp' THEN psp_of(merchant_id) = current_setting('mpac.psp_id', true)
                WHEN 'merchant' THEN merchant_id = current_setting('mpac.merchant_id', true)
                WHEN 'store' THEN merchant_id = current_setting('mpac.merchant_id', true)
                ELSE false
            END);
        CREATE POLICY idempotency_records_of_all ON idempotency_records TO mpac_accept, mpac_sweep USING (true);

        GRANT SELECT ON payments, payment_history, payment_attempts, payment_messages TO mpac_caller;
        -- A caller may withdraw a payment, and nothing else of it.
        GRANT UPDATE (status, version, processing_at, cancelled_at, cancel_requested_at, cancel_reason, cancel_outcome,
                      due_at, fence, on_too_late, next_action) ON payments TO mpac_caller;
        GRANT INSERT ON payment_history TO mpac_caller;
        GRANT SELECT, INSERT, UPDATE ON idempotency_records TO mpac_caller;
        GRANT SELECT, INSERT ON payments, payment_history, idempotency_records TO mpac_accept;
        -- A key beyond its replay window is given to a new request.
        GRANT UPDATE (fingerprint, status, body, resource_id, created_at, expires_at) ON idempotency_records TO mpac_accept;
        GRANT SELECT, UPDATE ON payments TO mpac_worker;
        GRANT SELECT, INSERT ON payment_history, payment_messages TO mpac_worker;
        GRANT SELECT, INSERT, UPDATE ON payment_attempts TO mpac_worker;
        GRANT SELECT, INSERT ON dead_letters TO mpac_worker;
        GRANT SELECT, INSERT, UPDATE ON canaries TO mpac_worker, mpac_sweep;
        GRANT SELECT ON payments TO mpac_sweep;
        GRANT SELECT, DELETE ON idempotency_records TO mpac_sweep;
        GRANT SELECT ON switches TO mpac_caller, mpac_accept, mpac_worker, mpac_sweep;
        GRANT INSERT, UPDATE ON switches TO mpac_caller;
        GRANT SELECT ON dead_letters TO mpac_caller, mpac_accept, mpac_sweep;
        GRANT SELECT ON canaries TO mpac_accept;
        GRANT UPDATE (requeued_at, requeued_by) ON dead_letters TO mpac_caller;
        GRANT UPDATE (unanswered_claims) ON payments TO mpac_caller;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE switches, canaries, dead_letters, idempotency_records, payment_messages, payment_attempts,
            payment_history, payments
        """
    )
