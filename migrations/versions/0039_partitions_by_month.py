"""Partition payments, their history and attempts, journals and entries by month, so that old months can be archived.

| partition                                    | rows                                                                          |
|----------------------------------------------|-------------------------------------------------------------------------------|
| ``payments_until_2027_01``                   | the table as it was before: everything until that month                       |
| ``payments_2027_01`` and so on               | a month (UTC). ``make_months`` makes them ahead                               |
| ``payments_beyond``                          | everything later. Empty, unless no month was made or a clock is far ahead     |

A row belongs to the month of the UUIDv7 of its payment; a journal to that of its source, and its entries to that of the
journal, whose id has the month of its source. The key of journals is ``substr(source_id, 5)``, without the prefix, so that one
partition holds the journals of payments, refunds and counts. A unique constraint of the whole table cannot have such a key:
each partition has its own on ``(source_id, kind)``, and equal sources always belong to the same partition.

No table is rewritten. A CHECK, validated beside the traffic, spares the attachment its scan. Each table is swapped in a
transaction of its own, which needs its lock for some milliseconds, and is tried again if a long statement has it.
Interrupted, the migration can be run again.

``refunds_payment_fk`` goes, because it would keep the month of each refunded payment. The request of a refund locks its
payment, and the rule "refunds of their payments" (I4) finds a refund without one.

``payments_by_client_reference`` is on every month for the previous release, which looks payments up by it after a rollback. This
release uses ``payment_client_references``: a migration of the next release drops the index.
"""

import time

from alembic import op
from sqlalchemy.exc import OperationalError

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

LOCK_NOT_AVAILABLE = "55P03"
TRIES, PAUSE_SECONDS = 60, 0.5
"""A statement that cannot have its lock is tried for a minute, which is longer than the longest statement of a request."""

KEYS = {
    "ledger_journals": ("substr(source_id, 5)", ""),
    "ledger_entries": ("journal_id", "jrn_"),
    "payment_attempts": ("payment_id", "pay_"),
    "payment_history": ("payment_id", "pay_"),
    "payments": ("id", "pay_"),
}
"""Table → the key of its partitions, and what stands before the time in it."""

NEWEST = """
    WITH newest AS (
        (SELECT id FROM payments ORDER BY id DESC LIMIT 1) UNION ALL (SELECT id FROM refunds ORDER BY id DESC LIMIT 1)
        UNION ALL (SELECT id FROM settlements ORDER BY id DESC LIMIT 1) UNION ALL (SELECT max(id) FROM ledger_journals)
        UNION ALL (SELECT max(source_id) FROM ledger_journals WHERE kind IN ('adjustment', 'payout'))
    ), present AS (SELECT date_trunc('month', pg_catalog.now() AT TIME ZONE 'UTC') AS month)
"""
TOO_LATE = NEWEST + """
    SELECT id FROM newest, present
    WHERE substr(id, 5) COLLATE "C" >= id_time((month + interval '3 months') AT TIME ZONE 'UTC') LIMIT 1
"""
"""An id for which the first table would reach more than three months ahead: made by a clock that was wrong, or not by us."""

BOUND = NEWEST + """
    SELECT to_char(greatest(month + interval '2 months', date_trunc('month', (
        SELECT max(to_timestamp(('x' || substr(id, 5, 12))::bit(48)::bigint / 1000.0)) AT TIME ZONE 'UTC'
        FROM newest WHERE id ~ '^[a-z]{3}_0[0-9a-f]{11}')) + interval '1 month'), 'YYYY_MM')
    FROM present
"""
"""The month after next, or one before which all existing ids are. Ids that are made meanwhile are before it as well."""

SWAP = """
    DO $$
    DECLARE
        parent text := '{table}';
        part text := '{table}_until_{month}';
        bound text := '{prefix}' || public.id_time('{month_start}Z');
        item record;
        definitions text[] := '{{}}';
        options text;
    BEGIN
        ALTER TABLE {table} RENAME TO {table}_until_{month};
        -- Row triggers become the parent's, which gives them to each partition. The check of a journal stays with partitions.
        FOR item IN SELECT tgname, replace(pg_get_triggerdef(oid), ' ON public.' || part || ' ', ' ON public.' || parent || ' ')
                AS definition, tgtype & 1 = 1 AS is_of_rows
            FROM pg_trigger WHERE tgrelid = part::regclass AND NOT tgisinternal
        LOOP
            IF item.is_of_rows THEN
                EXECUTE format('DROP TRIGGER %I ON %I', item.tgname, part);
            END IF;
            IF item.tgname <> 'ledger_journals_balanced' THEN
                definitions := definitions || item.definition;
            END IF;
        END LOOP;
        CREATE TABLE {table} (LIKE {table}_until_{month} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
            PARTITION BY RANGE ({partition_key});
        ALTER TABLE {table} DROP CONSTRAINT {table}_until;
        -- Each index is renamed, and made again for the whole table. The attachment finds that they are equal and builds none.
        FOR item IN SELECT c.relname AS name, pg_get_indexdef(c.oid) AS definition, k.oid IS NOT NULL AS is_key,
                pg_get_constraintdef(k.oid) AS key, c.relname || '' AS old
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid WHERE i.indrelid = part::regclass ORDER BY 1
        LOOP
            EXECUTE format('ALTER INDEX %I RENAME TO %I', item.name, part || substr(item.name, length(parent) + 1));
            IF item.is_key AND parent <> 'ledger_journals' THEN
                EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I %s', parent, item.name, item.key);
            ELSIF NOT item.is_key THEN
                EXECUTE replace(item.definition, ' ON public.' || part || ' ', ' ON public.' || parent || ' ');
            END IF;
        END LOOP;
        ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        FOR item IN SELECT policyname, array_to_string(roles, ', ') AS roles, replace(qual, part, parent) AS qual,
                replace(' WITH CHECK (' || with_check || ')', part, parent) AS for_new FROM pg_policies WHERE tablename = part
        LOOP
            EXECUTE format('CREATE POLICY %I ON %I TO %s USING (%s)%s', item.policyname, parent, item.roles, item.qual,
                item.for_new);
        END LOOP;
        FOR item IN SELECT a.grantee::regrole AS role, a.privilege_type AS privilege, '' AS columns
            FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = part::regclass AND a.grantee <> c.relowner AND a.grantee <> 0
            UNION ALL SELECT a.grantee::regrole, a.privilege_type, format('(%I)', t.attname)
            FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attrelid = part::regclass AND NOT t.attisdropped
        LOOP
            EXECUTE format('GRANT %s %s ON %I TO %s', item.privilege, item.columns, parent, item.role);
        END LOOP;
        FOR i IN 1 .. cardinality(definitions) LOOP
            EXECUTE definitions[i];
        END LOOP;
        EXECUTE format('ALTER TABLE {table} ATTACH PARTITION {table}_until_{month} FOR VALUES FROM (MINVALUE) TO (%L)', bound);
        ALTER TABLE {table}_until_{month} DROP CONSTRAINT {table}_until;
        SELECT array_to_string(reloptions, ', ') INTO options FROM pg_class WHERE oid = part::regclass;
        EXECUTE format('CREATE TABLE {table}_beyond PARTITION OF {table} FOR VALUES FROM (%L) TO (MAXVALUE) WITH (%s)', bound,
            options);
        PERFORM equip_partition(parent, part);
        PERFORM equip_partition(parent, '{table}_beyond');
        {after}
    END $$
"""
ENTRIES_OF_CALLER = """
        DROP POLICY ledger_entries_of_caller ON {entries};
        CREATE POLICY ledger_entries_of_caller ON {entries} TO mpac_caller
            USING (CASE current_setting('mpac.scope', true)
                WHEN 'store' THEN EXISTS (SELECT FROM ledger_journals j WHERE j.id = journal_id)
                ELSE account_id IN (SELECT id FROM ledger_accounts)
            END);
"""
"""A policy of another table follows the table that it names, not its name. So it is made again after that was swapped."""
LISTS_OF_CALLER = "".join(
    f"""
        DROP POLICY {name}_of_caller ON {name};
        CREATE POLICY {name}_of_caller ON {name} TO mpac_caller
            USING (EXISTS (SELECT FROM payments e WHERE e.id = {name}.{column}));
    """
    for name, column in (("due_payments", "id"), ("payment_references", "id"), ("payment_client_references", "payment_id"))
)
AFTER = {
    "ledger_journals": ENTRIES_OF_CALLER.format(entries="ledger_entries"),
    "ledger_entries": """
        PERFORM guard_ledger_of_month('until_{month}', '', id_time('{month_start}Z'));
    """,
    "payments": f"""
        {LISTS_OF_CALLER}
        ALTER INDEX payment_client_references_pkey RENAME TO payments_client_reference_key;
    """,
}
REFERENCE_INDEX = "payments (merchant_id, client_reference) WHERE client_reference IS NOT NULL"
OF_A_PAYMENT = "FOREIGN KEY (payment_id) REFERENCES payments"
DROP_GUARDS = """
    DO $$
    DECLARE item record;
    BEGIN
        FOR item IN SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            AND proname ~ '^refuse_(unbalanced_journal|strange_entries)_(until_)?\\d'
        LOOP
            EXECUTE format('DROP FUNCTION public.%I()', item.proname);
        END LOOP;
    END $$
"""

MERGE = """
    DO $$
    DECLARE
        parent text := '{table}';
        part text := '{table}_until_{month}';
        item record;
        definitions text[] := '{{}}';
    BEGIN
        {before}
        ALTER TABLE {table} DETACH PARTITION {table}_until_{month};
        ALTER TABLE {table}_until_{month} DISABLE TRIGGER USER;
        INSERT INTO {table}_until_{month} SELECT * FROM {table};
        ALTER TABLE {table}_until_{month} ENABLE TRIGGER USER;
        FOR item IN SELECT pg_get_triggerdef(oid) AS definition FROM pg_trigger
            WHERE tgrelid = parent::regclass AND NOT tgisinternal AND tgtype & 1 = 1
        LOOP
            definitions := definitions || item.definition;
        END LOOP;
        FOR item IN SELECT a.grantee::regrole AS role, a.privilege_type AS privilege, '' AS columns
            FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = parent::regclass AND a.grantee <> c.relowner AND a.grantee <> 0
            UNION ALL SELECT a.grantee::regrole, a.privilege_type, format('(%I)', t.attname)
            FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attrelid = parent::regclass AND NOT t.attisdropped
        LOOP
            EXECUTE format('GRANT %s %s ON %I TO %s', item.privilege, item.columns, part, item.role);
        END LOOP;
        DROP TABLE {table};
        ALTER TABLE {table}_until_{month} RENAME TO {table};
        FOR item IN SELECT c.relname AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            WHERE i.indrelid = parent::regclass AND starts_with(c.relname, part)
        LOOP
            EXECUTE format('ALTER INDEX %I RENAME TO %I', item.name, parent || substr(item.name, length(part) + 1));
        END LOOP;
        FOR i IN 1 .. cardinality(definitions) LOOP
            EXECUTE definitions[i];
        END LOOP;
        {after}
    END $$
"""
OF_CALLER = "CREATE POLICY {table}_of_caller ON {table} TO mpac_caller USING (may_see(merchant_id, store_id));"
LISTED = {"due_payments": "id", "payment_references": "id", "payment_client_references": "payment_id"}
BEFORE_MERGE = {
    "payments": "".join(f"DROP POLICY {name}_of_caller ON {name};" for name in LISTED),
    "ledger_journals": "DROP POLICY ledger_entries_of_caller ON ledger_entries;",
}
ENTRIES_OF_STORE = ENTRIES_OF_CALLER.format(entries="ledger_entries").partition(";")[2]
AFTER_MERGE = {
    "payments": OF_CALLER.format(table="payments") + "".join(
        f"CREATE POLICY {name}_of_caller ON {name} TO mpac_caller"
        f" USING (EXISTS (SELECT FROM payments e WHERE e.id = {name}.{column}));"
        for name, column in LISTED.items()
    ),
    "payment_history": """
        CREATE POLICY payment_history_of_caller ON payment_history TO mpac_caller
            USING (CASE WHEN store_id IS NULL THEN sees_payment(payment_id) ELSE may_see(merchant_id, store_id) END)
            WITH CHECK (sees_payment(payment_id));
    """,
    "payment_attempts": OF_CALLER.format(table="payment_attempts"),
    "ledger_entries": f"""
        {ENTRIES_OF_STORE}
        CREATE OR REPLACE TRIGGER ledger_entries_balanced AFTER INSERT ON ledger_entries REFERENCING NEW TABLE AS added
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_strange_entries();
    """,
    "ledger_journals": f"""
        {OF_CALLER.format(table="ledger_journals")} {ENTRIES_OF_STORE}
        DROP TRIGGER ledger_journals_balanced ON ledger_journals;
        CREATE CONSTRAINT TRIGGER ledger_journals_balanced AFTER INSERT ON ledger_journals
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unbalanced_journal();
    """,
}


def _value(query: str) -> str | None:
    found = op.get_bind().exec_driver_sql(query).scalar()
    return None if found is None else str(found)


def _execute_when_free(statement: str) -> None:
    """Run a statement that needs the lock of a busy table. It waits briefly, because payments queue behind it."""
    for tries_left in reversed(range(TRIES)):
        try:
            op.execute(statement)
            return
        except OperationalError as error:
            op.execute("ROLLBACK")
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or not tries_left:
                raise
            time.sleep(PAUSE_SECONDS)  # those that queued behind it go first


def upgrade() -> None:
    with op.get_context().autocommit_block():
        first = _value("SELECT relname FROM pg_class WHERE relname ~ '^ledger_journals_until_\\d+_\\d+$' AND relispartition")
        if not first and (late := _value(TOO_LATE)):
            raise RuntimeError(f"{late} was made by a clock that is months ahead: give it another id, or remove it")
        month = first.partition("_until_")[2] if first else str(_value(BOUND))
        names = {"month": month, "month_start": f"{month.replace('_', '-')}-01 00:00"}
        bound = _value(f"SELECT id_time('{names['month_start']}Z')")
        left = [name for name in KEYS if _value(f"SELECT relkind FROM pg_class WHERE oid = '{name}'::regclass") == "r"]
        if "payments" in left:
            op.execute("SET lock_timeout = 0")  # for the look-ups of the previous release: the unique index goes
            op.execute("DROP INDEX CONCURRENTLY IF EXISTS payments_by_client_reference")
            op.execute(f"CREATE INDEX CONCURRENTLY payments_by_client_reference ON {REFERENCE_INDEX}")
        op.execute("SET lock_timeout = '500ms'")
        _execute_when_free("ALTER TABLE refunds DROP CONSTRAINT IF EXISTS refunds_payment_fk")
        for table in left:
            key, prefix = KEYS[table]
            check = f"CHECK ({key} IS NOT NULL AND {key} < '{prefix}{bound}')"
            partition_key = f"({key})" if "(" in key else key
            after = AFTER.get(table, "").format(**names)
            swap = SWAP.format(table=table, prefix=prefix, partition_key=partition_key, after=after, **names)
            before = "DROP INDEX IF EXISTS payments_client_reference_key;" if table == "payments" else ""
            _execute_when_free(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_until")
            _execute_when_free(f"ALTER TABLE {table} ADD CONSTRAINT {table}_until {check} NOT VALID")
            try:
                _execute_when_free(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_until")
                _execute_when_free(f"BEGIN; {before} {swap}; COMMIT")
            except Exception:  # left behind, the check would refuse payments from that month on
                op.execute("ROLLBACK")
                _execute_when_free(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_until")
                raise
        _execute_when_free("SELECT make_months(3, now())")
        op.execute("SET lock_timeout = '3s'")


def downgrade() -> None:
    """Copy all months back into the tables of before. Each table is locked while its months are copied."""
    with op.get_context().autocommit_block():
        month = _value("SELECT min(split_part(relname, '_until_', 2)) FROM pg_class WHERE relkind = 'r' AND relname ~ '_until_\\d+_\\d+$'")
        for table in reversed(KEYS):
            if _value(f"SELECT relkind FROM pg_class WHERE oid = '{table}'::regclass") == "p":
                before, after = BEFORE_MERGE.get(table, ""), AFTER_MERGE[table]
                op.execute(MERGE.format(table=table, month=month, before=before, after=after))
        if _value("SELECT true FROM pg_constraint WHERE conname = 'payments_client_reference_key'"):
            op.execute("ALTER INDEX payments_client_reference_key RENAME TO payment_client_references_pkey")
        op.execute("SET lock_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS payments_by_client_reference")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS payments_client_reference_key")
        op.execute(f"CREATE UNIQUE INDEX CONCURRENTLY payments_client_reference_key ON {REFERENCE_INDEX}")
        op.execute("SET lock_timeout = '3s'")
        op.execute("ALTER TABLE refunds DROP CONSTRAINT IF EXISTS refunds_payment_fk")
        op.execute(f"ALTER TABLE refunds ADD CONSTRAINT refunds_payment_fk {OF_A_PAYMENT} NOT VALID")
        op.execute("ALTER TABLE refunds VALIDATE CONSTRAINT refunds_payment_fk")
        op.execute(DROP_GUARDS)
