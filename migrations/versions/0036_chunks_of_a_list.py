"""Tell a list how far back a number of rows lies, whoever they belong to.

A caller reads its own rows only, so a statement of the caller that stops after a number of rows may read the whole table to
find them. ``id_before`` counts all rows and returns where the chunk begins. It returns the time in the id and not the id,
which may be another tenant's.

The function is new, so it locks nothing.
"""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION id_before(listed text, before text, rows integer) RETURNS text
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
        DECLARE found text;
        BEGIN
            IF listed <> ALL (ARRAY['payments', 'refunds', 'orders', 'bills', 'settlements', 'devices', 'ledger_journals']) THEN
                RAISE EXCEPTION 'no list is read from %', listed USING ERRCODE = 'invalid_parameter_value';
            END IF;
            EXECUTE format('SELECT id FROM public.%I WHERE id < $1 ORDER BY id DESC OFFSET $2 LIMIT 1', listed)
                INTO found USING before, least(rows, 10000) - 1;
            -- A prefix of 3 letters, an underscore and 12 digits, which are milliseconds: as low as all ids of that time.
            RETURN left(found, 16);
        END $$;
        REVOKE EXECUTE ON FUNCTION id_before(text, text, integer) FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION id_before(text, text, integer) TO mpac_caller;
        """
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION id_before(text, text, integer)")
