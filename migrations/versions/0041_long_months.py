"""Add ``make_long_month``, for owners whose months were not made for long, and ``analyze_months``, for a sweep.

``make_months`` refuses to move many rows out of the partitions ``…_beyond``. So they become the tables of a long month, without
moving a row. Autovacuum analyzes partitions and never a partitioned table, whose statistics joins over all months need.
"""

from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

KEYS = {
    "ledger_journals": ("substr(source_id, 5)", ""),
    "ledger_entries": ("journal_id", "jrn_"),
    "payment_attempts": ("payment_id", "pay_"),
    "payment_history": ("payment_id", "pay_"),
    "payments": ("id", "pay_"),
}
"""Table → the key of its partitions, and what stands before the time in it (migration 0039)."""

FUNCTIONS = """
    -- Let the partitions "beyond" become the tables of a long month, and make new ones: for owners, if no month was made for so
    -- long that their rows are too many to move. It ends two months later than now, or a month after it began. Few rows are
    -- later, those of clocks that are ahead, and they move into the new ones. PostgreSQL reads the tables once, while all wait.
    CREATE FUNCTION make_long_month() RETURNS text
    LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
    DECLARE
        first timestamp;
        until timestamp;
        month text;
        low text;
        high text;
        item record;
        old record;
        part text;
        beyond text;
        is_used boolean;
    BEGIN
        PERFORM pg_advisory_xact_lock(7210816);
        first := public.beyond_begins();
        until := greatest(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months',
            first + interval '1 month');
        month := 'until_' || to_char(until, 'YYYY_MM');
        low := public.id_time(first AT TIME ZONE 'UTC');
        high := public.id_time(until AT TIME ZONE 'UTC');
        PERFORM public.refuse_many_beyond(high);
        FOR item IN SELECT * FROM (VALUES {keys}) AS k(name, key, prefix) LOOP
            part := item.name || '_' || month;
            beyond := item.name || '_beyond';
            EXECUTE format('ALTER TABLE public.%I DETACH PARTITION public.%I', item.name, beyond);
            EXECUTE format('ALTER TABLE public.%I RENAME TO %I', beyond, part);
            FOR old IN SELECT c.relname AS name, part || substr(c.relname, length(beyond) + 1) AS new
                FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = to_regclass('public.' || part)
            LOOP
                IF length(old.new) < 64 THEN -- a longer one keeps its name, and the new one gets another
                    EXECUTE format('ALTER INDEX public.%I RENAME TO %I', old.name, old.new);
                END IF;
            END LOOP;
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (MAXVALUE) WITH (%s)', beyond,
                item.name, item.prefix || high,
                (SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass('public.' || part)));
            PERFORM public.equip_partition(item.name, beyond);
            EXECUTE format('SELECT EXISTS (SELECT FROM public.%I WHERE %s >= %L)', part, item.key, item.prefix || high)
                INTO is_used;
            IF is_used THEN -- as in make_month
                EXECUTE format('ALTER TABLE public.%I DISABLE TRIGGER USER', part);
                EXECUTE format('ALTER TABLE public.%I DISABLE TRIGGER USER', beyond);
                EXECUTE format('WITH moved AS (DELETE FROM public.%I WHERE %s >= %L RETURNING *)
                    INSERT INTO public.%I SELECT * FROM moved', part, item.key, item.prefix || high, beyond);
                EXECUTE format('ALTER TABLE public.%I ENABLE TRIGGER USER', beyond);
                EXECUTE format('ALTER TABLE public.%I ENABLE TRIGGER USER', part);
            END IF;
            EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', item.name, part,
                item.prefix || low, item.prefix || high);
        END LOOP;
        PERFORM public.guard_ledger_of_month(month, low, high);
        RETURN month;
    END $$;

    -- Analyze that whole table whose statistics are the oldest, if they are a day old, and return its name: autovacuum analyzes
    -- partitions only. SECURITY DEFINER: for sweeps, which do not own the tables.
    CREATE FUNCTION analyze_months() RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE oldest text;
    BEGIN
        SELECT k.name INTO oldest FROM (VALUES {keys}) AS k(name, key, prefix)
            JOIN pg_stat_all_tables s ON s.relid = to_regclass('public.' || k.name)
            WHERE coalesce(s.last_analyze < statement_timestamp() - interval '1 day', true) -- both by the machine's clock
            ORDER BY s.last_analyze NULLS FIRST LIMIT 1;
        IF FOUND THEN
            EXECUTE format('ANALYZE (SKIP_LOCKED) public.%I', oldest);
        END IF;
        RETURN oldest;
    END $$;
    REVOKE ALL ON FUNCTION make_long_month(), analyze_months() FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION analyze_months() TO mpac_sweep;
""".replace("{keys}", ", ".join(f"('{name}', '{key}', '{prefix}')" for name, (key, prefix) in KEYS.items()))


def upgrade() -> None:
    op.execute(FUNCTIONS)


def downgrade() -> None:
    op.execute("DROP FUNCTION make_long_month(), analyze_months()")
