"""Roles, and the functions that every table leans on.

Roles belong to the whole server and outlive a database, so they are made only where they are missing, and the downgrade
leaves them.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        DO $$
        DECLARE name text;
        BEGIN
            FOREACH name IN ARRAY ARRAY['mpac_caller', 'mpac_accept', 'mpac_worker', 'mpac_sweep'] LOOP
                BEGIN
                    EXECUTE format('CREATE ROLE %I NOLOGIN', name);
                EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
                END;
                -- Another database of this server may be doing the same at this moment.
                BEGIN
                    EXECUTE format('GRANT %I TO CURRENT_USER', name);
                EXCEPTION WHEN OTHERS THEN NULL;
                END;
            END LOOP;
        END $$;

        GRANT USAGE ON SCHEMA public TO mpac_caller, mpac_accept, mpac_worker, mpac_sweep;

        -- Called only when a trigger's WHEN clause has already found the edge missing from the table of edges.
        CREATE FUNCTION refuse_edge() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                RAISE EXCEPTION '% cannot begin as %', TG_TABLE_NAME, NEW.status
                    USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
            END IF;
            RAISE EXCEPTION '% cannot go from % to %', TG_TABLE_NAME, OLD.status, NEW.status
                USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
        END $$;

        -- A version that a client has seen never goes backwards, and no status changes without a new version.
        CREATE FUNCTION refuse_version() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% cannot go from version % to % with status % to %',
                TG_TABLE_NAME, OLD.version, NEW.version, OLD.status, NEW.status
                USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
        END $$;

        -- History is written once.
        CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
        END $$;
        """
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION refuse_edge(), refuse_version(), refuse_rewriting()")
