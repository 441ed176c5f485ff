"""Settlement periods and their lines: written once, frozen by the close, never changed again.

What a close froze is held by triggers and not by good manners: a closed settlement's figures, its lines, and the mark on
each payment and refund that says where it was settled cannot be changed by any role, the owner's included.
"""

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
            -- The rule by which end_at was found; where it is no longer the store's, the open period is planned anew.
            time_zone text NOT NULL,
            cut_off time NOT NULL,
            status text NOT NULL CONSTRAINT settlements_status CHECK (status IN ('open', 'closed', 'reconciled')),
            version integer NOT NULL,

            -- Frozen by the close; refunds and fees are what went out, so net = gross - refunds - fees + adjustments.
            line_count bigint,
            gross_amount bigint,
            refunds_amount bigint,
            fees_amount bigint,
            adjustments_amount bigint,
            net_amount bigint,
            breakdown jsonb,
            late_count bigint,
            in_doubt_count bigint,
            in_doubt_amount bigint,
            cash_expected bigint,

            cash_actual bigint,
            note text,
            open_breaks integer NOT NULL DEFAULT 0, -- kept by reconciliation runs and resolutions
            created_at timestamptz NOT NULL,
            closed_at timestamptz,
            reconciled_at timestamptz,
            reconciled_by text,
            CONSTRAINT settlements_period_key UNIQUE (store_id, currency, start_at),
            CONSTRAINT settlements_period_end_key UNIQUE (store_id, currency, end_at),
            CONSTRAINT settlements_period_not_empty CHECK (end_at > start_at),
            CONSTRAINT settlements_figures_when_closed CHECK (
                CASE status WHEN 'open' THEN num_nonnulls(line_count, gross_amount, refunds_amount, fees_amount,
                    adjustments_amount, net_amount, breakdown, late_count, in_doubt_count, in_doubt_amount, cash_expected,
                    cash_actual, closed_at) = 0
                ELSE num_nulls(line_count, gross_amount, refunds_amount, fees_amount, adjustments_amount, net_amount,
                    breakdown, late_count, in_doubt_count, in_doubt_amount, cash_expected, closed_at) = 0 END),
            CONSTRAINT settlements_net CHECK (net_amount = gross_amount - refunds_amount - fees_amount + adjustments_amount),
            CONSTRAINT settlements_noted_discrepancy CHECK (
                cash_actual IS NULL OR cash_actual = cash_expected OR coalesce(note, '') <> ''),
            CONSTRAINT settlements_dated_when_reconciled CHECK (
                (status = 'reconciled') = (reconciled_at IS NOT NULL AND reconciled_by IS NOT NULL))
        );
        CREATE UNIQUE INDEX settlements_one_open ON settlements (store_id, currency) WHERE status = 'open';
        CREATE INDEX settlements_due ON settlements (end_at) WHERE status = 'open';
        CREATE INDEX settlements_by_store ON settlements (store_id, id);

        CREATE TRIGGER settlements_initial BEFORE INSERT ON settlements FOR EACH ROW
            WHEN (NEW.status <> ALL (ARRAY['open'])) EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER settlements_edges BEFORE UPDATE ON settlements FOR EACH ROW
            WHEN (OLD.status <> NEW.status AND (OLD.status || '>' || NEW.status) <> ALL (ARRAY[
                'open>closed', 'closed>reconciled']))
            EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER settlements_version BEFORE UPDATE ON settlements FOR EACH ROW
            WHEN (NEW.version < OLD.version OR (NEW.status <> OLD.status AND NEW.version = OLD.version))
            EXECUTE FUNCTION refuse_version();

        CREATE FUNCTION refuse_thaw() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'settlement % is % and never changes', OLD.id, OLD.status
                USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
        END $$;
        -- What is left to be said about a closed settlement is the count of the cash and how it was reconciled.
        CREATE TRIGGER settlements_frozen BEFORE UPDATE ON settlements FOR EACH ROW
            WHEN (OLD.status <> 'open' AND (
                (OLD.id, OLD.merchant_id, OLD.store_id, OLD.currency, OLD.business_date, OLD.start_at, OLD.end_at,
                 OLD.time_zone, OLD.cut_off, OLD.line_count, OLD.gross_amount, OLD.refunds_amount, OLD.fees_amount,
                 OLD.adjustments_amount, OLD.net_amount, OLD.breakdown, OLD.late_count, OLD.in_doubt_count,
                 OLD.in_doubt_amount, OLD.cash_expected, OLD.created_at, OLD.closed_at)
                IS DISTINCT FROM
                (NEW.id, NEW.merchant_id, NEW.store_id, NEW.currency, NEW.business_date, NEW.start_at, NEW.end_at,
                 NEW.time_zone, NEW.cut_off, NEW.line_count, NEW.gross_amount, NEW.refunds_amount, NEW.fees_amount,
                 NEW.adjustments_amount, NEW.net_amount, NEW.breakdown, NEW.late_count, NEW.in_doubt_count,
                 NEW.in_doubt_amount, NEW.cash_expected, NEW.created_at, NEW.closed_at)
                OR (OLD.status = 'reconciled' AND
                    (OLD.cash_actual, OLD.note, OLD.reconciled_at, OLD.reconciled_by)
                    IS DISTINCT FROM (NEW.cash_actual, NEW.note, NEW.reconciled_at, NEW.reconciled_by))))
            EXECUTE FUNCTION refuse_thaw();
        CREATE TRIGGER settlements_kept BEFORE DELETE ON settlements FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

        -- A period begins where another of its store and currency ended: with the unique keys above, periods are one chain
        -- without gap or overlap. SECURITY DEFINER: the whole chain counts, whatever the caller may see of it.
        CREATE FUNCTION refuse_gap() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        BEGIN
            IF EXISTS (SELECT FROM settlements WHERE store_id = NEW.store_id AND currency = NEW.currency AND id <> NEW.id)
               AND NOT EXISTS (SELECT FROM settlements WHERE store_id = NEW.store_id AND currency = NEW.currency
                               AND end_at = NEW.start_at) THEN
                RAISE EXCEPTION 'no period of % in % ends at %', NEW.store_id, NEW.currency, NEW.start_at
                    USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER settlements_chain AFTER INSERT ON settlements FOR EACH ROW EXECUTE FUNCTION refuse_gap();

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

        -- The primary key is half of I6: whatever was settled is settled once.
        CREATE TABLE settlement_lines (
            settlement_id text NOT NULL,
            kind text NOT NULL CONSTRAINT settlement_lines_kind CHECK (kind IN ('payment', 'refund', 'adjustment')),
            entity_id text NOT NULL,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            payment_id text, -- none where an adjustment is about no payment of ours
            provider text NOT NULL,
            provider_reference text,
            our_reference text, -- the attempt that moved the money, as the provider's statement quotes it
            method_type text,
            brand text,
            currency text NOT NULL,
            amount bigint NOT NULL, -- captured with its tip; what goes out is negative
            tip_amount bigint NOT NULL DEFAULT 0,
            fee bigint NOT NULL DEFAULT 0, -- what the provider keeps for it
            occurred_at timestamptz NOT NULL,
            business_date date NOT NULL,
            is_late boolean NOT NULL DEFAULT false,
            PRIMARY KEY (kind, entity_id),
            CONSTRAINT settlement_lines_sign CHECK (
                CASE kind WHEN 'payment' THEN amount > 0 WHEN 'refund' THEN amount < 0 ELSE amount <> 0 END)
        );
        CREATE INDEX settlement_lines_by_settlement ON settlement_lines (settlement_id, entity_id);
        -- Only of corrections, so that the million lines of a close do not meet it.
        CREATE INDEX settlement_lines_of_corrected ON settlement_lines (payment_id) WHERE kind = 'adjustment';
        CREATE TRIGGER settlement_lines_append_only BEFORE UPDATE OR DELETE ON settlement_lines
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

        -- Once per statement and not per row, because a close writes a million lines with one: the settlements that got lines
        -- are open, of the lines' store and currency, and stay open until this transaction ends (FOR SHARE).
        CREATE FUNCTION refuse_strange_lines() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path = public, pg_temp AS $$
        DECLARE strange text;
        BEGIN
            PERFORM FROM settlements WHERE id IN (SELECT settlement_id FROM added) ORDER BY id FOR SHARE;
            SELECT a.settlement_id INTO strange
            FROM (SELECT DISTINCT settlement_id, merchant_id, store_id, currency FROM added) a
            LEFT JOIN settlements s ON s.id = a.settlement_id AND s.status = 'open' AND s.merchant_id = a.merchant_id
                                   AND s.store_id = a.store_id AND s.currency = a.currency
            WHERE s.id IS NULL LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'settlement % takes no such line: it is closed, or of another store or currency', strange
                    USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER settlement_lines_of_open AFTER INSERT ON settlement_lines REFERENCING NEW TABLE AS added
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_strange_lines();

        -- What waits for a close, and what a close shows as in doubt. UPDATE OF: recording a payment never meets this trigger.
        CREATE INDEX payments_unsettled ON payments (store_id, currency, completed_at)
            WHERE settlement_id IS NULL AND completed_at IS NOT NULL;
        CREATE INDEX refunds_unsettled ON refunds (store_id, currency, completed_at)
            WHERE settlement_id IS NULL AND completed_at IS NOT NULL;
        CREATE INDEX payments_in_doubt ON payments (store_id, currency) WHERE NOT outcome_known;
        CREATE INDEX refunds_in_doubt ON refunds (store_id, currency) WHERE NOT outcome_known;
        CREATE FUNCTION refuse_resettling() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% was settled in %', OLD.id, OLD.settlement_id
                USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
        END $$;
        CREATE TRIGGER payments_settled_once BEFORE UPDATE OF settlement_id ON payments FOR EACH ROW
            WHEN (OLD.settlement_id IS NOT NULL AND NEW.settlement_id IS DISTINCT FROM OLD.settlement_id)
            EXECUTE FUNCTION refuse_resettling();
        CREATE TRIGGER refunds_settled_once BEFORE UPDATE OF settlement_id ON refunds FOR EACH ROW
            WHEN (OLD.settlement_id IS NOT NULL AND NEW.settlement_id IS DISTINCT FROM OLD.settlement_id)
            EXECUTE FUNCTION refuse_resettling();

        -- One business day of a store that ends at another time than its rule says.
        CREATE TABLE settlement_overrides (
            store_id text NOT NULL,
            business_date date NOT NULL,
            merchant_id text NOT NULL,
            ends_at_local timestamp NOT NULL, -- by the store's clocks, whatever its zone is by then
            reason text,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            PRIMARY KEY (store_id, business_date)
        );

        ALTER TABLE settlements ENABLE ROW LEVEL SECURITY;
        CREATE POLICY settlements_of_caller ON settlements TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY settlements_of_all ON settlements TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE settlement_history ENABLE ROW LEVEL SECURITY;
        CREATE POLICY settlement_history_of_caller ON settlement_history TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY settlement_history_of_all ON settlement_history TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE settlement_lines ENABLE ROW LEVEL SECURITY;
        CREATE POLICY settlement_lines_of_caller ON settlement_lines TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY settlement_lines_of_all ON settlement_lines TO mpac_worker, mpac_sweep USING (true);
        ALTER TABLE settlement_overrides ENABLE ROW LEVEL SECURITY;
        CREATE POLICY settlement_overrides_of_caller ON settlement_overrides TO mpac_caller
            USING (may_see(merchant_id, store_id));
        CREATE POLICY settlement_overrides_of_all ON settlement_overrides TO mpac_worker USING (true);

        -- A caller may close by hand what it may see, and count its cash; ids and tenants never change.
        GRANT SELECT, INSERT ON settlements, settlement_history, settlement_lines, settlement_overrides TO mpac_caller;
        GRANT UPDATE (end_at, business_date, time_zone, cut_off, status, version, line_count, gross_amount, refunds_amount,
                      fees_amount, adjustments_amount, net_amount, breakdown, late_count, in_doubt_count, in_doubt_amount,
                      cash_expected, cash_actual, note, open_breaks, closed_at, reconciled_at, reconciled_by)
            ON settlements TO mpac_caller, mpac_worker;
        GRANT UPDATE (ends_at_local, reason, created_at, created_by), DELETE ON settlement_overrides TO mpac_caller;
        GRANT UPDATE (settlement_id) ON payments, refunds TO mpac_caller;
        GRANT SELECT, INSERT ON settlements, settlement_history, settlement_lines TO mpac_worker;
        GRANT SELECT ON settlement_overrides TO mpac_worker;
        GRANT SELECT ON settlements, settlement_history TO mpac_sweep;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TRIGGER payments_settled_once ON payments;
        DROP TRIGGER refunds_settled_once ON refunds;
        DROP INDEX payments_unsettled, refunds_unsettled, payments_in_doubt, refunds_in_doubt;
        DROP TABLE settlement_overrides, settlement_lines, settlement_history, settlements;
        DROP FUNCTION refuse_thaw(), refuse_gap(), refuse_strange_lines(), refuse_resettling();
        """
    )
