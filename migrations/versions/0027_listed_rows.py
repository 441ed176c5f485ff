"""List what is due, what is unsettled and whose reference is known in narrow tables, so that updates touch no index.

| table                                    | a row                                   | from               | until      |
|------------------------------------------|-----------------------------------------|--------------------|------------|
| ``due_payments``, ``due_refunds``        | is due at ``due_at`` or later           | accept             | final      |
| ``unsettled_payments``, ``…_refunds``    | was completed and is in no settlement   | completion         | close      |
| ``payment_references``, ``refund_…``     | has this reference of its provider      | the answer         | always     |

Triggers keep these tables, whatever changes a row: this release, the previous one during an upgrade or after a rollback, a
person with psql. ``due_at`` in a narrow table is a lower bound: the first claim sets ``payments.due_at`` to the end of its lease
and leaves the narrow row as it is, which spares the busiest statement the trigger.

Existing rows are listed after the triggers are in place, a thousand per transaction. Open and unsettled rows are locked while
they are listed, because one that becomes final or settled in between would stay listed. References are listed without a lock:
a stale one is harmless, because readers compare it with the row. Interrupted, the migration can be run again. 307,000 unsettled
payments and 30,000 refunds took 43 s on a busy machine with two CPUs; settled ones only have their references listed.
"""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

TABLES = """
    -- No index on due_at: the table holds what is being processed, and a sweep reads it whole in less time than each payment
    -- would need for a second index.
    CREATE TABLE due_{entity}s (
        id text CONSTRAINT due_{entity}s_pkey PRIMARY KEY,
        due_at timestamptz NOT NULL
    );
    CREATE TABLE unsettled_{entity}s (
        store_id text,
        currency text,
        completed_at timestamptz,
        id text,
        CONSTRAINT unsettled_{entity}s_pkey PRIMARY KEY (store_id, currency, completed_at, id)
    );
    CREATE TABLE {entity}_references (
        provider_reference text NOT NULL,
        id text NOT NULL
    );
    CREATE INDEX {entity}_references_by_reference ON {entity}_references USING hash (provider_reference);

    -- SECURITY DEFINER: what is listed does not depend on who changes a row. Names are qualified instead of a SET search_path,
    -- which costs as much as the function itself.
    CREATE FUNCTION list_new_{entity}s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.due_{entity}s (id, due_at) SELECT id, due_at FROM added WHERE due_at IS NOT NULL;
        RETURN NULL;
    END $$;
    CREATE TRIGGER {entity}s_listed_when_new AFTER INSERT ON {entity}s REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION list_new_{entity}s();

    CREATE FUNCTION list_changed_{entity}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF NEW.due_at IS NULL THEN
            IF OLD.due_at IS NOT NULL THEN
                DELETE FROM public.due_{entity}s WHERE id = NEW.id;
            END IF;
        ELSIF OLD.due_at IS DISTINCT FROM NEW.due_at THEN
            INSERT INTO public.due_{entity}s AS d (id, due_at) VALUES (NEW.id, NEW.due_at)
            ON CONFLICT (id) DO UPDATE SET due_at = excluded.due_at;
        END IF;
        IF OLD.completed_at IS NOT NULL AND OLD.settlement_id IS NULL THEN
            IF NEW.settlement_id IS NOT NULL OR OLD.completed_at IS DISTINCT FROM NEW.completed_at
               OR OLD.store_id <> NEW.store_id OR OLD.currency <> NEW.currency THEN
                DELETE FROM public.unsettled_{entity}s WHERE store_id = OLD.store_id AND currency = OLD.currency
                    AND completed_at = OLD.completed_at AND id = OLD.id;
            END IF;
        END IF;
        IF NEW.completed_at IS NOT NULL AND NEW.settlement_id IS NULL
           AND (OLD.completed_at IS DISTINCT FROM NEW.completed_at OR OLD.settlement_id IS NOT NULL
                OR OLD.store_id <> NEW.store_id OR OLD.currency <> NEW.currency) THEN
            INSERT INTO public.unsettled_{entity}s (store_id, currency, completed_at, id)
            VALUES (NEW.store_id, NEW.currency, NEW.completed_at, NEW.id);
        END IF;
        IF NEW.provider_reference IS DISTINCT FROM OLD.provider_reference THEN
            IF OLD.provider_reference IS NOT NULL THEN
                DELETE FROM public.{entity}_references WHERE provider_reference = OLD.provider_reference AND id = NEW.id;
            END IF;
            IF NEW.provider_reference IS NOT NULL THEN
                INSERT INTO public.{entity}_references (provider_reference, id) VALUES (NEW.provider_reference, NEW.id);
            END IF;
        END IF;
        RETURN NULL;
    END $$;
    -- The first claim of a row (pending>processing, due later) changes nothing that is listed.
    CREATE TRIGGER {entity}s_listed_when_changed AFTER UPDATE ON {entity}s FOR EACH ROW
        WHEN ((OLD.due_at IS DISTINCT FROM NEW.due_at
               AND NOT (OLD.status = 'pending' AND NEW.status = 'processing' AND NEW.due_at >= OLD.due_at) IS TRUE)
           OR (OLD.completed_at, OLD.settlement_id, OLD.provider_reference, OLD.store_id, OLD.currency)
               IS DISTINCT FROM (NEW.completed_at, NEW.settlement_id, NEW.provider_reference, NEW.store_id, NEW.currency))
        EXECUTE FUNCTION list_changed_{entity}();

    ALTER TABLE due_{entity}s ENABLE ROW LEVEL SECURITY;
    CREATE POLICY due_{entity}s_of_caller ON due_{entity}s TO mpac_caller
        USING (EXISTS (SELECT FROM {entity}s e WHERE e.id = due_{entity}s.id));
    CREATE POLICY due_{entity}s_of_all ON due_{entity}s TO mpac_accept, mpac_worker, mpac_sweep USING (true);
    ALTER TABLE unsettled_{entity}s ENABLE ROW LEVEL SECURITY;
    -- Above a store, by the stores that the caller sees: one look-up for all rows instead of one for each.
    CREATE POLICY unsettled_{entity}s_of_caller ON unsettled_{entity}s TO mpac_caller
        USING (CASE current_setting('mpac.scope', true)
            WHEN 'store' THEN store_id = current_setting('mpac.store_id', true)
            ELSE store_id IN (SELECT id FROM stores)
        END);
    CREATE POLICY unsettled_{entity}s_of_all ON unsettled_{entity}s TO mpac_worker USING (true);
    ALTER TABLE {entity}_references ENABLE ROW LEVEL SECURITY;
    CREATE POLICY {entity}_references_of_caller ON {entity}_references TO mpac_caller
        USING (EXISTS (SELECT FROM {entity}s e WHERE e.id = {entity}_references.id));
    CREATE POLICY {entity}_references_of_all ON {entity}_references TO mpac_worker USING (true);
    GRANT SELECT ON due_{entity}s TO mpac_caller, mpac_accept, mpac_worker, mpac_sweep;
    GRANT SELECT ON unsettled_{entity}s, {entity}_references TO mpac_caller, mpac_worker;
"""

LIST_EXISTING = """
    DO $$
    DECLARE after text := ''; last text;
    BEGIN
        LOOP
            SELECT max(id) INTO last FROM (SELECT id FROM {entity}s WHERE id > after ORDER BY id LIMIT 1000) AS page;
            EXIT WHEN last IS NULL;
            PERFORM FROM {entity}s WHERE id > after AND id <= last
                AND (due_at IS NOT NULL OR (completed_at IS NOT NULL AND settlement_id IS NULL)) ORDER BY id FOR NO KEY UPDATE;
            INSERT INTO due_{entity}s SELECT id, due_at FROM {entity}s
                WHERE id > after AND id <= last AND due_at IS NOT NULL ON CONFLICT DO NOTHING;
            INSERT INTO unsettled_{entity}s SELECT store_id, currency, completed_at, id FROM {entity}s
                WHERE id > after AND id <= last AND completed_at IS NOT NULL AND settlement_id IS NULL ON CONFLICT DO NOTHING;
            INSERT INTO {entity}_references SELECT provider_reference, id FROM {entity}s e
                WHERE id > after AND id <= last AND provider_reference IS NOT NULL AND NOT EXISTS (
                    SELECT FROM {entity}_references r WHERE r.provider_reference = e.provider_reference AND r.id = e.id);
            COMMIT;
            after := last;
        END LOOP;
    END $$
"""


def upgrade() -> None:
    connection = op.get_bind()
    with op.get_context().autocommit_block():
        for entity in ("refund", "payment"):
            # Made in one transaction with their triggers, so that no change is missed; made already if this is a repetition.
            made = connection.exec_driver_sql(f"SELECT to_regclass('public.due_{entity}s')").scalar()
            if made is None:
                op.execute(f"BEGIN; {TABLES.format(entity=entity)} COMMIT")
            op.execute("SET lock_timeout = 0")  # a page waits for a row that a worker is recording
            # The block keeps the plans that it made for empty tables: one that reads all references for each page takes hours.
            for kind in ("seqscan", "hashjoin", "mergejoin"):
                op.execute(f"SET enable_{kind} = off")
            op.execute(LIST_EXISTING.format(entity=entity))
            for kind in ("seqscan", "hashjoin", "mergejoin"):
                op.execute(f"RESET enable_{kind}")
            op.execute("SET lock_timeout = '3s'")


def downgrade() -> None:
    for entity in ("payment", "refund"):
        op.execute(
            f"""
            DROP TRIGGER {entity}s_listed_when_new ON {entity}s;
            DROP TRIGGER {entity}s_listed_when_changed ON {entity}s;
            DROP FUNCTION list_new_{entity}s(), list_changed_{entity}();
            DROP TABLE due_{entity}s, unsettled_{entity}s, {entity}_references;
            """
        )
