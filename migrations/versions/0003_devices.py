"""Devices, their activation codes, the assertions they have used, and their history."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE devices (
            id text PRIMARY KEY,
            merchant_id text NOT NULL,
            store_id text NOT NULL CONSTRAINT devices_store_fk REFERENCES stores,
            serial_number text NOT NULL CONSTRAINT devices_serial_number_key UNIQUE,
            name text NOT NULL,
            model text NOT NULL,
            status text NOT NULL CONSTRAINT devices_status
                CHECK (status IN ('pending_activation', 'active', 'suspended', 'deactivated')),
            version integer NOT NULL,
            client_id text CONSTRAINT devices_client_id_key UNIQUE,
            public_key_pem text,
            created_at timestamptz NOT NULL,
            activated_at timestamptz,
            suspended_at timestamptz,
            deactivated_at timestamptz,
            last_connected_at timestamptz,
            CONSTRAINT devices_active_has_key CHECK (status <> 'active' OR (public_key_pem IS NOT NULL AND client_id IS NOT NULL))
        );
        CREATE INDEX devices_by_store ON devices (store_id, id);

        CREATE TRIGGER devices_initial BEFORE INSERT ON devices FOR EACH ROW
            WHEN (NEW.status <> ALL (ARRAY['pending_activation'])) EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER devices_edges BEFORE UPDATE ON devices FOR EACH ROW
            WHEN (OLD.status <> NEW.status AND (OLD.status || '>' || NEW.status) <> ALL (ARRAY[
                'pending_activation>active', 'active>suspended', 'suspended>active',
                'pending_activation>deactivated', 'active>deactivated', 'suspended>deactivated']))
            EXECUTE FUNCTION refuse_edge();
        CREATE TRIGGER devices_version BEFORE UPDATE ON devices FOR EACH ROW
            WHEN (NEW.version < OLD.version OR (NEW.status <> OLD.status AND NEW.version = OLD.version))
            EXECUTE FUNCTION refuse_version();

        CREATE TABLE device_history (
            device_id text NOT NULL REFERENCES devices,
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
            PRIMARY KEY (device_id, version)
        );
        CREATE TRIGGER device_history_append_only BEFORE UPDATE OR DELETE ON device_history
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

        CREATE TABLE activation_codes (
            device_id text PRIMARY KEY REFERENCES devices,
            code_hash text NOT NULL,
            expires_at timestamptz NOT NULL,
            tries integer NOT NULL DEFAULT 0,
            used_at timestamptz,
            created_at timestamptz NOT NULL
        );

        -- The jti of a client assertion counts once; rows are thrown away when the assertion has expired anyway.
        CREATE TABLE used_assertions (
            client_id text NOT NULL,
            jti text NOT NULL,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (client_id, jti)
        );
        CREATE INDEX used_assertions_by_expiry ON used_assertions (expires_at);

        ALTER TABLE devices ENABLE ROW LEVEL SECURITY;
        CREATE POLICY devices_of_caller ON devices TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY devices_of_all ON devices TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        ALTER TABLE device_history ENABLE ROW LEVEL SECURITY;
        CREATE POLICY device_history_of_caller ON device_history TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY device_history_of_all ON device_history TO mpac_accept USING (true);
        ALTER TABLE activation_codes ENABLE ROW LEVEL SECURITY;
        CREATE POLICY activation_codes_of_caller ON activation_codes TO mpac_caller
            USING (EXISTS (SELECT FROM devices WHERE devices.id = device_id));
        CREATE POLICY activation_codes_of_all ON activation_codes TO mpac_accept USING (true);

        GRANT SELECT, INSERT ON devices TO mpac_caller;
        GRANT UPDATE (status, version, client_id, public_key_pem, activated_at, suspended_at, deactivated_at)
            ON devices TO mpac_caller;
        GRANT SELECT, INSERT ON device_history TO mpac_caller;
        GRANT SELECT, INSERT ON activation_codes TO mpac_caller;
        GRANT UPDATE (code_hash, expires_at, tries, used_at, created_at) ON activation_codes TO mpac_caller;
        -- Activation and tokens come before anybody is known, so they run for all tenants.
        GRANT SELECT ON devices, activation_codes TO mpac_accept;
        GRANT UPDATE (status, version, client_id, public_key_pem, activated_at, last_connected_at) ON devices TO mpac_accept;
        GRANT UPDATE (tries, used_at) ON activation_codes TO mpac_accept;
        GRANT SELECT, INSERT ON device_history TO mpac_accept;
        GRANT SELECT, INSERT ON used_assertions TO mpac_accept;
        GRANT SELECT ON devices TO mpac_worker, mpac_sweep;
        GRANT SELECT, DELETE ON used_assertions TO mpac_sweep;
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE used_assertions, activation_codes, device_history, devices")
