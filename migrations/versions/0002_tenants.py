"""PSPs, merchants, stores and their providers; what a caller may see."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE psps (
            id text PRIMARY KEY,
            name text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now()
        );

        CREATE TABLE merchants (
            id text PRIMARY KEY,
            psp_id text NOT NULL CONSTRAINT merchants_psp_fk REFERENCES psps,
            name text NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL
        );
        CREATE INDEX merchants_by_psp ON merchants (psp_id, id);

        CREATE TABLE stores (
            id text PRIMARY KEY,
            merchant_id text NOT NULL CONSTRAINT stores_merchant_fk REFERENCES merchants,
            name text NOT NULL,
            currency text NOT NULL,
            time_zone text NOT NULL,
            cut_off time NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL
        );
        CREATE INDEX stores_by_merchant ON stores (merchant_id, id);

        CREATE TABLE store_providers (
            id text PRIMARY KEY,
            merchant_id text NOT NULL,
            store_id text NOT NULL CONSTRAINT store_providers_store_fk REFERENCES stores,
            provider text NOT NULL,
            methods text[] NOT NULL,
            priority integer NOT NULL,
            enabled boolean NOT NULL,
            credentials bytea,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT store_providers_one_each UNIQUE (store_id, provider)
        );

        -- SECURITY DEFINER: a PSP's merchants are looked up past the caller's own row-level security, or it would recurse.
        CREATE FUNCTION may_see(merchant text, store text) RETURNS boolean
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
            SELECT CASE current_setting('mpac.scope', true)
                WHEN 'store' THEN store = current_setting('mpac.store_id', true)
                                  AND merchant = current_setting('mpac.merchant_id', true)
                WHEN 'merchant' THEN merchant = current_setting('mpac.merchant_id', true)
                WHEN 'psp' THEN EXISTS (SELECT FROM merchants WHERE id = merchant
                                        AND psp_id = current_setting('mpac.psp_id', true))
                WHEN 'system' THEN true
                ELSE false
            END
        $$;

        -- For roles that serve many tenants and may not read merchants.
        CREATE FUNCTION psp_of(merchant text) RETURNS text
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
            SELECT psp_id FROM merchants WHERE id = merchant
        $$;

        ALTER TABLE psps ENABLE ROW LEVEL SECURITY;
        CREATE POLICY psps_of_caller ON psps TO mpac_caller USING (
            current_setting('mpac.scope', true) = 'system' OR id = current_setting('mpac.psp_id', true))
            WITH CHECK (current_setting('mpac.scope', true) = 'system');

        ALTER TABLE merchants ENABLE ROW LEVEL SECURITY;
        CREATE POLICY merchants_of_caller ON merchants TO mpac_caller USING (
            CASE current_setting('mpac.scope', true)
                WHEN 'system' THEN true
                WHEN 'psp' THEN psp_id = current_setting('mpac.psp_id', true)
                WHEN 'merchant' THEN id = current_setting('mpac.merchant_id', true)
                WHEN 'store' THEN id = current_setting('mpac.merchant_id', true)
                ELSE false
            END);

        ALTER TABLE stores ENABLE ROW LEVEL SECURITY;
        CREATE POLICY stores_of_caller ON stores TO mpac_caller USING (may_see(merchant_id, id));
        CREATE POLICY stores_of_all ON stores TO mpac_accept, mpac_worker, mpac_sweep USING (true);

        ALTER TABLE store_providers ENABLE ROW LEVEL SECURITY;
        CREATE POLICY store_providers_of_caller ON store_providers TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY store_providers_of_all ON store_providers TO mpac_accept, mpac_worker USING (true);

        -- What says whose a row is (ids, psp_id, merchant_id, store_id) never changes, so nobody may change it.
        GRANT SELECT, INSERT ON psps TO mpac_caller;
        GRANT SELECT, INSERT ON merchants, stores TO mpac_caller;
        GRANT UPDATE (name, updated_at) ON merchants TO mpac_caller;
        GRANT UPDATE (name, currency, time_zone, cut_off, updated_at) ON stores TO mpac_caller;
        GRANT SELECT, INSERT, DELETE ON store_providers TO mpac_caller;
        GRANT UPDATE (methods, priority, enabled, credentials, updated_at) ON store_providers TO mpac_caller;
        GRANT SELECT ON stores TO mpac_accept, mpac_worker, mpac_sweep;
        GRANT SELECT ON store_providers TO mpac_accept, mpac_worker;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE store_providers;
        DROP POLICY stores_of_caller ON stores;
        DROP FUNCTION may_see(text, text), psp_of(text);
        DROP TABLE stores, merchants, psps;
        """
    )
