"""Keep every ``client_reference`` in a table of its own, so that it stays unique when payments are partitioned by month.

A unique index of a partitioned table must contain the key of its partitions. So a trigger enters each reference into
``payment_client_references``, whatever inserts the payment: this release, the previous one, a person with psql. Until 0039 the
unique index of ``payments`` is there as well, and reports a duplicate first, under the name that ``accept`` expects.

Existing references are entered after the trigger is in place, ten thousand payments per transaction. They need no lock: the
unique index ensures that no reference has two payments. Interrupted, the migration can be run again.
"""

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

REFERENCES = """
    CREATE TABLE payment_client_references (
        merchant_id text,
        client_reference text,
        payment_id text NOT NULL,
        CONSTRAINT payment_client_references_pkey PRIMARY KEY (merchant_id, client_reference)
    ) WITH (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
    ALTER TABLE payment_client_references ENABLE ROW LEVEL SECURITY;
    CREATE POLICY payment_client_references_of_caller ON payment_client_references TO mpac_caller
        USING (EXISTS (SELECT FROM payments p WHERE p.id = payment_id));
    CREATE POLICY payment_client_references_of_all ON payment_client_references TO mpac_accept USING (true);
    GRANT SELECT ON payment_client_references TO mpac_caller, mpac_accept;

    LOCK TABLE payments IN SHARE ROW EXCLUSIVE MODE; -- from here on, each payment goes through the new function
    CREATE OR REPLACE FUNCTION list_new_payments() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.due_payments (id, due_at) SELECT id, due_at FROM added WHERE due_at IS NOT NULL;
        INSERT INTO public.payment_client_references (merchant_id, client_reference, payment_id)
        SELECT merchant_id, client_reference, id FROM added WHERE client_reference IS NOT NULL
        ORDER BY 1, 2; -- in one order, so that two groups with the same references cannot deadlock
        RETURN NULL;
    END $$;
    -- They have the owner's rights: nobody else may put them on a table of its own, where they would enter what it likes.
    REVOKE EXECUTE ON FUNCTION list_new_payments(), list_changed_payment(), list_new_refunds(), list_changed_refund(),
        refuse_unbalanced_journal(), refuse_strange_entries(), refuse_gap(), refuse_strange_lines() FROM PUBLIC;
    CREATE FUNCTION refuse_new_reference() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the client_reference of % cannot be changed', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END $$;
    CREATE TRIGGER payments_same_reference BEFORE UPDATE OF client_reference, merchant_id ON payments FOR EACH ROW
        WHEN ((OLD.client_reference, OLD.merchant_id) IS DISTINCT FROM (NEW.client_reference, NEW.merchant_id))
        EXECUTE FUNCTION refuse_new_reference();
"""

LIST_EXISTING = """
    DO $$
    DECLARE after text := ''; last text;
    BEGIN
        LOOP
            SELECT max(id) INTO last FROM (SELECT id FROM payments WHERE id > after ORDER BY id LIMIT 10000) AS page;
            EXIT WHEN last IS NULL;
            INSERT INTO payment_client_references SELECT merchant_id, client_reference, id FROM payments
                WHERE id > after AND id <= last AND client_reference IS NOT NULL ON CONFLICT DO NOTHING;
            COMMIT;
            after := last;
        END LOOP;
    END $$
"""


def upgrade() -> None:
    with op.get_context().autocommit_block():
        table = "SELECT to_regclass('public.payment_client_references')"
        if op.get_bind().exec_driver_sql(table).scalar() is None:
            op.execute(f"BEGIN; {REFERENCES} COMMIT")
        op.execute("SET lock_timeout = 0")
        op.execute("SET enable_seqscan = off")  # the block keeps the plans that it made for the first pages
        op.execute(LIST_EXISTING)
        op.execute("RESET enable_seqscan")
        op.execute("SET lock_timeout = '3s'")


def downgrade() -> None:
    op.execute(
        """
        CREATE OR REPLACE FUNCTION list_new_payments() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.due_payments (id, due_at) SELECT id, due_at FROM added WHERE due_at IS NOT NULL;
        RETURN NULL;
    END $$;
        GRANT EXECUTE ON FUNCTION list_new_payments(), list_changed_payment(), list_new_refunds(), list_changed_refund(),
            refuse_unbalanced_journal(), refuse_strange_entries(), refuse_gap(), refuse_strange_lines() TO PUBLIC;
        DROP TRIGGER payments_same_reference ON payments;
        DROP FUNCTION refuse_new_reference();
        DROP TABLE payment_client_references;
        """
    )
