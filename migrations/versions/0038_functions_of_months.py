"""Add the functions that make the partitions of a month: for 0039, and for the periodic task that makes months ahead.

``make_month`` cuts a month off the partitions ``…_beyond``, which hold everything later than the months that were made. Its rows
of that month move along, so a month that was made too late is complete. All five tables get the month in one transaction. If
the rows are too many to move while everybody waits, it is refused (``make_long_month`` of 0041 is for that).

The last partition is a range and not DEFAULT, because PostgreSQL sorts the rows of all partitions for a list ordered by id if
there is a DEFAULT partition.
"""

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

KEYS = {
    "ledger_journals": ("substr(source_id, 5)", ""),
    "ledger_entries": ("journal_id", "jrn_"),
    "payment_attempts": ("payment_id", "pay_"),
    "payment_history": ("payment_id", "pay_"),
    "payments": ("id", "pay_"),
}
"""Table → the key of its partitions, and what stands before the time in it. """

MOST_MOVED = 10_000
"""Rows of each table that a late month may move: about half a second in which payments wait."""

FUNCTIONS = """
    CREATE OR REPLACE FUNCTION id_time(at timestamptz) RETURNS text LANGUAGE sql STABLE
    RETURN lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0');

    -- What a partition does not inherit: triggers of statements, row-level security, grants. Callers get none: what a caller
    -- may see is decided by the policies of the whole table.
    CREATE OR REPLACE FUNCTION equip_partition(parent text, part text) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE item record;
    BEGIN
        FOR item IN SELECT pg_get_triggerdef(t.oid) AS definition FROM pg_trigger t
            WHERE t.tgrelid = to_regclass('public.' || parent) AND NOT t.tgisinternal AND t.tgtype & 1 = 0
              AND NOT EXISTS (SELECT FROM pg_trigger o WHERE o.tgrelid = to_regclass('public.' || part) AND o.tgname = t.tgname)
        LOOP
            EXECUTE replace(item.definition, format(' ON public.%I ', parent), format(' ON public.%I ', part));
        END LOOP;
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('REVOKE ALL ON public.%I FROM mpac_caller', part);
        EXECUTE format('DROP POLICY IF EXISTS %I ON public.%I', parent || '_of_caller', part);
        FOR item IN SELECT policyname, array_to_string(roles, ', ') AS roles, qual FROM pg_policies p
            WHERE schemaname = 'public' AND tablename = parent AND NOT 'mpac_caller' = ANY(roles)
              AND NOT EXISTS (SELECT FROM pg_policies o WHERE o.schemaname = 'public' AND o.tablename = part
                              AND o.policyname = p.policyname)
        LOOP
            EXECUTE format('CREATE POLICY %I ON public.%I TO %s USING (%s)', item.policyname, part, item.roles, item.qual);
        END LOOP;
        FOR item IN SELECT g.* FROM (
                SELECT a.grantee, a.privilege_type AS privilege, '' AS columns
                FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass('public.' || parent)
                UNION ALL SELECT a.grantee, a.privilege_type, format('(%I)', t.attname)
                FROM pg_attribute t, aclexplode(t.attacl) a
                WHERE t.attrelid = to_regclass('public.' || parent) AND NOT t.attisdropped
            ) g WHERE g.grantee = ANY(ARRAY['mpac_accept', 'mpac_worker', 'mpac_sweep']::regrole[]::oid[])
        LOOP
            EXECUTE format('GRANT %s %s ON public.%I TO %s', item.privilege, item.columns, part, item.grantee::regrole);
        END LOOP;
        IF parent = 'ledger_journals' THEN
            IF to_regclass(format('public.%I', part || '_pkey')) IS NULL THEN
                EXECUTE format('ALTER TABLE public.%I ADD CONSTRAINT %I PRIMARY KEY (id), ADD CONSTRAINT %I UNIQUE (source_id, kind)',
                    part, part || '_pkey', part || '_source_key');
            END IF;
            EXECUTE format('CREATE CONSTRAINT TRIGGER ledger_journals_balanced AFTER INSERT ON public.%I DEFERRABLE
                INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.refuse_unbalanced_journal()', part);
        END IF;
    END $$;

    -- The two guards of the ledger look at the month's own tables first: to look at all months costs each journal a millisecond.
    CREATE OR REPLACE FUNCTION guard_ledger_of_month(month text, low text, high text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format($format$
            CREATE OR REPLACE FUNCTION public.refuse_unbalanced_journal_%1$s() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER AS $body$
            DECLARE is_wrong boolean;
            BEGIN
                IF NEW.id >= 'jrn_%2$s' AND NEW.id < 'jrn_%3$s' THEN
                    SELECT count(*) < 2 OR sum(e.amount) <> 0 OR NOT bool_and((
                        SELECT a.merchant_id = NEW.merchant_id AND a.currency = NEW.currency
                        FROM public.ledger_accounts a WHERE a.id = e.account_id) IS TRUE)
                    INTO is_wrong FROM public.ledger_entries_%1$s e WHERE e.journal_id = NEW.id;
                ELSE -- posted by the release before 0039, in a later month than its source
                    SELECT count(*) < 2 OR sum(e.amount) <> 0 OR NOT bool_and((
                        SELECT a.merchant_id = NEW.merchant_id AND a.currency = NEW.currency
                        FROM public.ledger_accounts a WHERE a.id = e.account_id) IS TRUE)
                    INTO is_wrong FROM public.ledger_entries e WHERE e.journal_id = NEW.id;
                END IF;
                IF is_wrong THEN
                    RAISE EXCEPTION 'journal %% (%% of %%) does not sum to zero, or not on accounts of its merchant and currency',
                        NEW.id, NEW.kind, NEW.source_id USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
                END IF;
                RETURN NULL;
            END $body$;
            CREATE OR REPLACE FUNCTION public.refuse_strange_entries_%1$s() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER AS $body$
            DECLARE strange text;
            BEGIN
                SELECT journal_id INTO strange FROM added GROUP BY journal_id HAVING sum(amount) <> 0
                    OR (SELECT true FROM public.ledger_journals_%1$s j WHERE j.id = journal_id) IS NULL LIMIT 1;
                IF FOUND THEN -- the journal may be one of another month
                    SELECT journal_id INTO strange FROM added GROUP BY journal_id HAVING sum(amount) <> 0
                        OR (SELECT true FROM public.ledger_journals j WHERE j.id = journal_id) IS NULL LIMIT 1;
                    IF FOUND THEN
                        RAISE EXCEPTION 'what is added to journal %% does not sum to zero, or there is no such journal', strange
                            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
                    END IF;
                END IF;
                RETURN NULL;
            END $body$;
            REVOKE EXECUTE ON FUNCTION public.refuse_unbalanced_journal_%1$s(), public.refuse_strange_entries_%1$s() FROM PUBLIC;
            DROP TRIGGER ledger_journals_balanced ON public.ledger_journals_%1$s;
            CREATE CONSTRAINT TRIGGER ledger_journals_balanced AFTER INSERT ON public.ledger_journals_%1$s
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.refuse_unbalanced_journal_%1$s();
            CREATE OR REPLACE TRIGGER ledger_entries_balanced AFTER INSERT ON public.ledger_entries_%1$s
                REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_strange_entries_%1$s();
        $format$, month, low, high);
    END $$;

    -- Cut the month that begins at first off the partitions "beyond", with their rows of that month.
    CREATE OR REPLACE FUNCTION make_month(first timestamp) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        month text := to_char(first, 'YYYY_MM');
        low text := public.id_time(first AT TIME ZONE 'UTC');
        high text := public.id_time((first + interval '1 month') AT TIME ZONE 'UTC');
        item record;
        part text;
        beyond text;
        is_used boolean;
    BEGIN
        FOR item IN SELECT * FROM (VALUES {keys}) AS k(name, key, prefix) LOOP
            part := item.name || '_' || month;
            beyond := item.name || '_beyond';
            EXECUTE format('ALTER TABLE public.%I DETACH PARTITION public.%I', item.name, beyond);
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L) WITH (%s)', part,
                item.name, item.prefix || low, item.prefix || high,
                (SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass('public.' || beyond)));
            EXECUTE format('SELECT EXISTS (SELECT FROM public.%I WHERE %s < %L)', beyond, item.key, item.prefix || high)
                INTO is_used;
            IF is_used THEN -- they were written already, so no trigger may list, check or refuse them a second time
                EXECUTE format('ALTER TABLE public.%I DISABLE TRIGGER USER', beyond);
                EXECUTE format('ALTER TABLE public.%I DISABLE TRIGGER USER', part);
                EXECUTE format('WITH moved AS (DELETE FROM public.%I WHERE %s < %L RETURNING *)
                    INSERT INTO public.%I SELECT * FROM moved', beyond, item.key, item.prefix || high, part);
                EXECUTE format('ALTER TABLE public.%I ENABLE TRIGGER USER', part);
                EXECUTE format('ALTER TABLE public.%I ENABLE TRIGGER USER', beyond);
            END IF;
            EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (MAXVALUE)',
                item.name, beyond, item.prefix || high);
            PERFORM public.equip_partition(item.name, part);
        END LOOP;
        PERFORM public.guard_ledger_of_month(month, low, high);
    END $$;

    -- Where the partitions "beyond" begin: until then, every month has a table.
    CREATE OR REPLACE FUNCTION beyond_begins() RETURNS timestamp LANGUAGE sql STABLE
    RETURN (SELECT to_timestamp((
                'x' || substring(pg_get_expr(relpartbound, oid) FROM 'FROM \\(''pay_([0-9a-f]{12})'))::bit(48)::bigint
                / 1000.0) AT TIME ZONE 'UTC' FROM pg_class WHERE oid = to_regclass('public.payments_beyond'));

    -- Refuse to move more rows of the partitions "beyond" than can be moved while everybody waits. It takes no lock.
    CREATE OR REPLACE FUNCTION refuse_many_beyond(since text) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        item record;
        found_rows bigint;
    BEGIN
        FOR item IN SELECT name, key, prefix || since AS first, to_regclass('public.' || name || '_beyond') AS beyond
            FROM (VALUES {keys}) AS k(name, key, prefix) LOOP
            EXECUTE format('SELECT count(*) FROM (SELECT FROM %s WHERE %s >= %L LIMIT {most} + 1) AS r', item.beyond, item.key,
                item.first) INTO found_rows;
            IF found_rows > {most} THEN
                RAISE EXCEPTION '% has % rows, too many to move', item.beyond,
                    greatest(found_rows, pg_stat_get_live_tuples(item.beyond))
                    USING ERRCODE = 'program_limit_exceeded', HINT = 'Call make_long_month() as the owner of the tables.';
            END IF;
        END LOOP;
    END $$;

    -- Make the months that are missing until so many after the one of at, and return how many were made. It waits briefly for
    -- its locks, because others queue behind it.
    CREATE OR REPLACE FUNCTION make_months_at(ahead integer, at timestamptz) RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
    DECLARE
        made integer := 0;
        first timestamp;
    BEGIN
        IF NOT pg_try_advisory_xact_lock(7210816) THEN
            RETURN 0; -- another one is at it
        END IF;
        LOOP
            first := public.beyond_begins();
            EXIT WHEN first IS NULL OR first > (at AT TIME ZONE 'UTC') + make_interval(months => ahead) OR made = 12;
            IF made = 0 THEN
                PERFORM public.refuse_many_beyond('');
            END IF;
            PERFORM public.make_month(first);
            made := made + 1;
        END LOOP;
        RETURN made;
    END $$;

    -- SECURITY DEFINER: sweeps may call it, and only owners may make tables. at is the caller's now(), because the clock of a
    -- development stack can be moved, which a function with a path of its own does not see.
    CREATE OR REPLACE FUNCTION make_months(ahead integer, at timestamptz) RETURNS integer
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN public.make_months_at(least(ahead, 12), at);

    REVOKE ALL ON FUNCTION make_months(integer, timestamptz), make_months_at(integer, timestamptz), make_month(timestamp),
        refuse_many_beyond(text), equip_partition(text, text), guard_ledger_of_month(text, text, text) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION make_months(integer, timestamptz) TO mpac_sweep;
""".replace("{keys}", ", ".join(f"('{name}', '{key}', '{prefix}')" for name, (key, prefix) in KEYS.items())).replace(
    "{most}", str(MOST_MOVED)
)


def upgrade() -> None:
    op.execute(FUNCTIONS)


def downgrade() -> None:
    op.execute(
        """
        DROP FUNCTION make_months(integer, timestamptz), make_months_at(integer, timestamptz), make_month(timestamp),
            refuse_many_beyond(text), beyond_begins(), guard_ledger_of_month(text, text, text),
            equip_partition(text, text), id_time(timestamptz)
        """
    )
