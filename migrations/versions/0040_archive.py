"""Add the schema of archived months, and the tables of what the live books keep of them (`mpac archive`).

| table               | a row                                                                                       |
|---------------------|---------------------------------------------------------------------------------------------|
| ``archived_months`` | a month whose five tables are in the schema ``archive``, or were dropped from it             |
| ``carried_balances``| what the journals of one kind of that month moved on an account, for one settlement          |
| ``carried_bills``   | what the payments of that month paid of a bill                                               |
| ``carried_refunds`` | what was refunded of the payments of that month, by store, currency and provider             |
| ``archive_log``     | what was done to a month, when and by whom                                                   |

``carried_checksum`` computes the checksum that ``archived_months`` stores, so that a change of a carried row is found. An id
contains its time, so ``archived_month_of`` tells from any id whether its month was archived, and reveals nothing about whether
there was such a row.
"""

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

CARRIED = {
    "carried_balances": "account_id, merchant_id, store_id, settlement_id, kind, amount, entries",
    "carried_bills": "bill_id, merchant_id, store_id, payments, retained, unrefunded, counted, counted_unrefunded",
    "carried_refunds": "merchant_id, store_id, currency, provider, refunds, refunded",
}
"""Table → the columns that its checksum covers."""

CHECKSUM = " + ".join(
    f"""(SELECT coalesce(sum(('x' || substr(md5(concat_ws('|', '{table}', {columns})), 1, 15))::bit(60)::bigint::numeric), 0)
        FROM public.{table} WHERE month = of_month)"""
    for table, columns in CARRIED.items()
)


def upgrade() -> None:
    op.execute(
        f"""
        CREATE SCHEMA archive; -- no role has rights in it
        CREATE TABLE archived_months (
            month text CONSTRAINT archived_months_pkey PRIMARY KEY, -- as in the names of its tables: 2026_11, until_2027_01
            low text NOT NULL, -- its ids have times (12 hexadecimal digits) from low, below high
            high text NOT NULL,
            archived_at timestamptz NOT NULL,
            archived_by text NOT NULL,
            dropped_at timestamptz,
            checksum numeric NOT NULL,
            manifest jsonb NOT NULL
        );
        CREATE TABLE carried_balances (
            month text,
            account_id text,
            merchant_id text NOT NULL,
            store_id text,
            settlement_id text, -- that has the lines of the journals; '' if none has
            kind text,
            amount bigint NOT NULL,
            entries bigint NOT NULL,
            CONSTRAINT carried_balances_pkey PRIMARY KEY (account_id, month, store_id, settlement_id, kind)
        );
        CREATE INDEX carried_balances_by_settlement ON carried_balances (settlement_id);
        CREATE TABLE carried_bills (
            month text,
            bill_id text,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            payments bigint NOT NULL,
            retained bigint NOT NULL,
            unrefunded bigint NOT NULL,
            counted bigint NOT NULL,
            counted_unrefunded bigint NOT NULL,
            CONSTRAINT carried_bills_pkey PRIMARY KEY (bill_id, month)
        );
        CREATE TABLE carried_refunds (
            month text,
            merchant_id text NOT NULL,
            store_id text,
            currency text,
            provider text,
            refunds bigint NOT NULL,
            refunded bigint NOT NULL,
            CONSTRAINT carried_refunds_pkey PRIMARY KEY (month, store_id, currency, provider)
        );
        CREATE TABLE archive_log (
            number bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT archive_log_pkey PRIMARY KEY,
            at timestamptz NOT NULL,
            month text NOT NULL,
            event text NOT NULL CONSTRAINT archive_log_event
                CHECK (event IN ('freeze', 'release', 'archive', 'restore', 'drop')),
            by text NOT NULL,
            details jsonb NOT NULL
        );
        ALTER TABLE carried_balances ENABLE ROW LEVEL SECURITY;
        CREATE POLICY carried_balances_of_caller ON carried_balances TO mpac_caller USING (may_see(merchant_id, store_id));
        ALTER TABLE carried_bills ENABLE ROW LEVEL SECURITY;
        CREATE POLICY carried_bills_of_caller ON carried_bills TO mpac_caller USING (may_see(merchant_id, store_id));
        ALTER TABLE carried_refunds ENABLE ROW LEVEL SECURITY;
        CREATE POLICY carried_bills_of_all ON carried_bills TO mpac_accept, mpac_worker, mpac_sweep USING (true);
        GRANT SELECT (month, low, high, archived_at) ON archived_months TO mpac_caller, mpac_accept, mpac_worker, mpac_sweep;
        GRANT SELECT ON carried_balances TO mpac_caller;
        GRANT SELECT ON carried_bills TO mpac_caller, mpac_accept, mpac_worker;

        CREATE FUNCTION archived_month_of(id text) RETURNS archived_months
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
            SELECT m FROM public.archived_months m WHERE substr(id, 5) >= m.low AND substr(id, 5) < m.high LIMIT 1
        $$;
        CREATE FUNCTION carried_checksum(of_month text) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT {CHECKSUM} $$;
        CREATE FUNCTION refuse_frozen_month() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the month of % is being archived', TG_TABLE_NAME USING ERRCODE = 'lock_not_available';
        END $$;
        CREATE TRIGGER archive_log_append_only BEFORE UPDATE OR DELETE ON archive_log
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DO $$
        BEGIN
            IF EXISTS (SELECT FROM archived_months) THEN
                RAISE EXCEPTION 'restore the archived months first (mpac archive --restore)';
            END IF;
        END $$;
        DROP FUNCTION archived_month_of(text), carried_checksum(text);
        DROP TABLE archive_log, carried_refunds, carried_bills, carried_balances, archived_months;
        DROP FUNCTION IF EXISTS refuse_frozen_month() CASCADE;
        DROP SCHEMA archive;
        """
    )
