"""Orders with their items, bills, and which bill is for which orders."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE orders (
            id text PRIMARY KEY,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            device_id text,
            order_number text NOT NULL,
            order_type text NOT NULL,
            table_number text,
            status text NOT NULL CONSTRAINT orders_status
                CHECK (status IN ('draft', 'open', 'paid', 'completed', 'cancelled')),
            version integer NOT NULL,
            currency text NOT NULL,
            subtotal bigint NOT NULL,
            tax_amount bigint NOT NULL,
            discount_amount bigint NOT NULL,
            total_amount bigint NOT NULL CONSTRAINT orders_total_not_negative CHECK (total_amount >= 0),
            CONSTRAINT orders_amounts CHECK (subtotal >= discount_amount AND discount_amount >= 0 AND tax_amount >= 0
                AND total_amount = subtotal - discount_amount + tax_amount),
            -- What comes to nothing could never be paid, so it is never submitted either.
            CONSTRAINT orders_open_for_something CHECK (total_amount > 0 OR status IN ('draft', 'cancelled')),
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            submitted_at timestamptz,
            paid_at timestamptz,
            completed_at timestamptz,
            cancelled_at timestamptz,
            CONSTRAINT orders_number_key UNIQUE (store_id, order_number)
        );
        CREATE INDEX orders_by_store ON orders (store_id, id);

        CREATE TABLE order_items (
            id text PRIMARY KEY,
            order_id text NOT NULL CONSTRAINT order_items_order_fk REFERENCES orders ON DELETE CASCADE,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            position integer NOT NULL,
            name text NOT NULL,
            quantity integer NOT NULL CONSTRAINT order_items_quantity_positive CHECK (quantity > 0),
            unit_price bigint NOT NULL CONSTRAINT order_items_price_not_negative CHECK (unit_price >= 0),
            -- Without a fixed scale, so that "0.10" is answered as it was sent.
            tax_rate numeric NOT NULL CONSTRAINT order_items_tax_rate
                CHECK (tax_rate >= 0 AND tax_rate < 1 AND scale(tax_rate) <= 5),
            subtotal bigint NOT NULL
        );
        CREATE INDEX order_items_by_order ON order_items (order_id, position);

        CREATE TABLE bills (
            id text PRIMARY KEY,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            bill_number text NOT NULL,
            parent_bill_id text CONSTRAINT bills_parent_fk REFERENCES bills,
            status text NOT NULL CONSTRAINT bills_status
                CHECK (status IN ('unpaid', 'partially_paid', 'paid', 'voided')),
            version integer NOT NULL,
            currency text NOT NULL,
            subtotal bigint NOT NULL,
            tax_amount bigint NOT NULL,
            discount_amount bigint NOT NULL,
            total_amount bigint NOT NULL CONSTRAINT bills_total_positive CHECK (total_amount > 0),
            paid_amount bigint NOT NULL DEFAULT 0,
            reserved_amount bigint NOT NULL DEFAULT 0,
            -- What was given back after it was paid in full: such a bill stays paid (there is no edge out of it).
            refunded_amount bigint NOT NULL DEFAULT 0,
            -- The items a bill is for, where it is for whole items: only such a bill can be split by them.
            item_ids text[],
            paid_at timestamptz,
            voided_at timestamptz,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT bills_number_key UNIQUE (store_id, bill_number),
            CONSTRAINT bills_within_total
                CHECK (paid_amount >= 0 AND reserved_amount >= 0 AND paid_amount + reserved_amount <= total_amount),
            CONSTRAINT bills_amounts CHECK (subtotal >= discount_amount AND discount_amount >= 0 AND tax_amount >= 0
                AND total_amount = subtotal - discount_amount + tax_amount),
            CONSTRAINT bills_refunded_when_paid
                CHECK (refunded_amount = 0 OR (status = 'paid' AND refunded_amount BETWEEN 1 AND paid_amount)),
            -- The status says no more and no less than the amounts do.
            CONSTRAINT bills_status_tells_amounts CHECK (CASE status
                WHEN 'unpaid' THEN paid_amount = 0
                WHEN 'partially_paid' THEN paid_amount > 0 AND paid_amount < total_amount
                WHEN 'paid' THEN paid_amount = total_amount AND paid_at IS NOT NULL
                WHEN 'voided' THEN paid_amount = 0 AND reserved_amount = 0
            END)
        );
        CREATE INDEX bills_by_store ON bills (store_id, id);
        CREATE INDEX bills_by_parent ON bills (parent_bill_id) WHERE parent_bill_id IS NOT NULL;

        CREATE TABLE bill_orders (
            bill_id text NOT NULL CONSTRAINT bill_orders_bill_fk REFERENCES bills,
            order_id text NOT NULL CONSTRAINT bill_orders_order_fk REFERENCES orders,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            PRIMARY KEY (bill_id, order_id)
        );
        CREATE INDEX bill_orders_by_order ON bill_orders (order_id);
        CREATE INDEX payments_by_bill ON payments (bill_id, id) WHERE bill_id IS NOT NULL;

        -- The last number given; its row is locked by the transaction of what is numbered, so no number is ever skipped.
        CREATE TABLE number_counters (
            store_id text NOT NULL,
            kind text NOT NULL CONSTRAINT number_counters_kind CHECK (kind IN ('order', 'bill')),
            business_date date NOT NULL,
            merchant_id text NOT NULL,
            last integer NOT NULL,
            PRIMARY KEY (store_id, kind, business_date)
        );
        CREATE TRIGGER number_counters_upwards BEFORE UPDATE ON number_counters FOR EACH ROW
            WHEN (NEW.last < OLD.last) EXECUTE FUNCTION refuse_rewriting();

        CREATE TRIGGER orders_initial BEFORE INSERT ON orders FOR EACH ROW
            WHEN (NEW.status <> ALL (ARRAY['draft'])) EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER orders_edges BEFORE UPDATE ON orders FOR EACH ROW
            WHEN (OLD.status <> NEW.status AND (OLD.status || '>' || NEW.status) <> ALL (ARRAY[
                'draft>open', 'open>paid', 'paid>completed', 'draft>cancelled', 'open>cancelled', 'paid>cancelled']))
            EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER orders_version BEFORE UPDATE ON orders FOR EACH ROW
            WHEN (NEW.version < OLD.version OR (NEW.status <> OLD.status AND NEW.version = OLD.version))
            EXECUTE FUNCTION refuse_version();

        CREATE TABLE order_history (
            order_id text NOT NULL,
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
            PRIMARY KEY (order_id, version)
        );
        CREATE TRIGGER order_history_append_only BEFORE UPDATE OR DELETE ON order_history
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

        CREATE TRIGGER bills_initial BEFORE INSERT ON bills FOR EACH ROW
            WHEN (NEW.status <> ALL (ARRAY['unpaid'])) EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER bills_edges BEFORE UPDATE ON bills FOR EACH ROW
            WHEN (OLD.status <> NEW.status AND (OLD.status || '>' || NEW.status) <> ALL (ARRAY[
                'unpaid>partially_paid', 'unpaid>paid', 'partially_paid>paid', 'partially_paid>unpaid', 'unpaid>voided']))
            EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER bills_version BEFORE UPDATE ON bills FOR EACH ROW
            WHEN (NEW.version < OLD.version OR (NEW.status <> OLD.status AND NEW.version = OLD.version))
            EXECUTE FUNCTION refuse_version();

        CREATE TABLE bill_history (
            bill_id text NOT NULL,
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
            PRIMARY KEY (bill_id, version)
        );
        CREATE TRIGGER bill_history_append_only BEFORE UPDATE OR DELETE ON bill_history
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

        ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
        CREATE POLICY orders_of_caller ON orders TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY orders_of_all ON orders TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE order_items ENABLE ROW LEVEL SECURITY;
        CREATE POLICY order_items_of_caller ON order_items TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY order_items_of_all ON order_items TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE order_history ENABLE ROW LEVEL SECURITY;
        CREATE POLICY order_history_of_caller ON order_history TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY order_history_of_all ON order_history TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE bills ENABLE ROW LEVEL SECURITY;
        CREATE POLICY bills_of_caller ON bills TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY bills_of_all ON bills TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE bill_orders ENABLE ROW LEVEL SECURITY;
        CREATE POLICY bill_orders_of_caller ON bill_orders TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY bill_orders_of_all ON bill_orders TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE bill_history ENABLE ROW LEVEL SECURITY;
        CREATE POLICY bill_history_of_caller ON bill_history TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY bill_history_of_all ON bill_history TO mpac_accept, mpac_worker, mpac_sweep USING (true);

        ALTER TABLE number_counters ENABLE ROW LEVEL SECURITY;
        CREATE POLICY number_counters_of_caller ON number_counters TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY number_counters_of_all ON number_counters TO mpac_accept USING (true);

        GRANT SELECT ON orders, order_items, order_history, bills, bill_orders, bill_history TO mpac_caller, mpac_sweep;

        -- Orders come in for many callers at once, as payments do.
        GRANT SELECT, INSERT ON orders, order_items, order_history TO mpac_accept;
        GRANT UPDATE (status, version, submitted_at) ON orders TO mpac_accept;
        GRANT SELECT, INSERT ON number_counters TO mpac_accept, mpac_caller;
        GRANT UPDATE (last) ON number_counters TO mpac_accept, mpac_caller;

        -- A caller changes, submits, cancels and completes an order; that it is paid, only a worker learns.
        GRANT UPDATE (status, version, order_type, table_number, subtotal, tax_amount, discount_amount, total_amount,
                      updated_at, submitted_at, completed_at, cancelled_at) ON orders TO mpac_caller;
        GRANT INSERT, DELETE ON order_items TO mpac_caller;
        GRANT INSERT ON order_history TO mpac_caller;

        -- A caller makes, splits and voids bills, and releases what its cancelled payment had reserved.
        GRANT INSERT ON bills, bill_orders, bill_history TO mpac_caller;
        GRANT UPDATE (status, version, reserved_amount, updated_at, voided_at) ON bills TO mpac_caller;
        -- Payments that are accepted reserve, and nothing else.
        GRANT SELECT ON bills, bill_orders TO mpac_accept;
        GRANT UPDATE (version, reserved_amount, updated_at) ON bills TO mpac_accept;
        GRANT SELECT, INSERT ON bill_history TO mpac_accept;
        -- What was paid and what was given back is written by the workers that heard it from the provider.
        GRANT SELECT ON orders, bills, bill_orders TO mpac_worker;
        GRANT UPDATE (status, version, paid_amount, reserved_amount, refunded_amount, paid_at, updated_at) ON bills TO mpac_worker;
        GRANT UPDATE (status, version, paid_at, updated_at) ON orders TO mpac_worker;
        GRANT SELECT, INSERT ON bill_history, order_history TO mpac_worker;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX payments_by_bill;
        DROP TABLE number_counters, bill_history, order_history, bill_orders, bills, order_items, orders;
        """
    )
