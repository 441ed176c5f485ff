"""The ledger: accounts, journals, entries. Append-only, and no journal that does not sum to zero.

Two guards hold the sum. A deferred constraint trigger looks at each journal when its transaction commits: at least two
entries, on accounts of its own merchant and currency, sum zero. A statement trigger looks at what each INSERT of entries
adds: the journals are there, and it sums to zero for every one it touches, so that a journal which was once in balance
cannot be unbalanced by entries added later.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE ledger_accounts (
            id text PRIMARY KEY, -- made of the key below (ledger_account_id), so that nobody has to look it up
            merchant_id text NOT NULL,
            kind text NOT NULL CONSTRAINT ledger_accounts_kind CHECK (kind IN
                ('cash', 'receivable', 'bank', 'sales', 'tips', 'refunds', 'fees', 'differences')),
            provider text NOT NULL,
            currency text NOT NULL,
            created_at timestamptz NOT NULL,
            CONSTRAINT ledger_accounts_key UNIQUE (merchant_id, kind, provider, currency)
        );

        CREATE TABLE ledger_journals (
            id text PRIMARY KEY,
            merchant_id text NOT NULL,
            store_id text NOT NULL,
            kind text NOT NULL CONSTRAINT ledger_journals_kind CHECK (kind IN
                ('completion', 'refund', 'fee', 'adjustment', 'cash_difference', 'payout')),
            source_id text NOT NULL, -- what it records: a payment, a refund, an adjustment, a count, a payout
            payment_id text,
            currency text NOT NULL,
            occurred_at timestamptz NOT NULL,
            posted_at timestamptz NOT NULL,
            CONSTRAINT ledger_journals_source_key UNIQUE (source_id, kind)
        );
        CREATE INDEX ledger_journals_by_merchant ON ledger_journals (merchant_id, id);
        -- A payment's own journals are found by their source.
        CREATE INDEX ledger_journals_by_payment ON ledger_journals (payment_id) WHERE source_id <> payment_id;

        CREATE TABLE ledger_entries (
            journal_id text NOT NULL,
            number smallint NOT NULL,
            account_id text NOT NULL,
            amount bigint NOT NULL CONSTRAINT ledger_entries_not_zero CHECK (amount <> 0), -- debits are positive
            PRIMARY KEY (journal_id, number)
        );
        CREATE INDEX ledger_entries_by_account ON ledger_entries (account_id);

        CREATE FUNCTION ledger_account_id(merchant text, kind text, provider text, currency text) RETURNS text
        LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
            SELECT 'acc_' || md5(merchant || ' ' || kind || ' ' || provider || ' ' || currency)
        $$;

        -- SECURITY DEFINER: whether a journal balances does not depend on who may see it. Names are qualified instead of a SET
        -- search_path, which costs as much as the look itself and is paid for each journal.
        CREATE FUNCTION refuse_unbalanced_journal() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            -- The look for the account is a subquery and no join: so many looks by key, whatever plan is kept.
            IF (SELECT count(*) < 2 OR sum(e.amount) <> 0 OR NOT bool_and((
                    SELECT a.merchant_id = NEW.merchant_id AND a.currency = NEW.currency
                    FROM public.ledger_accounts a WHERE a.id = e.account_id) IS TRUE)
                FROM public.ledger_entries e WHERE e.journal_id = NEW.id) THEN
                RAISE EXCEPTION 'journal % (% of %) does not sum to zero, or not on accounts of its merchant and currency',
                    NEW.id, NEW.kind, NEW.source_id USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
            END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER ledger_journals_balanced AFTER INSERT ON ledger_journals
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unbalanced_journal();

        -- One look for all entries of a statement.
        CREATE FUNCTION refuse_strange_entries() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        DECLARE strange text;
        BEGIN
            -- Likewise the look for the journal.
            SELECT journal_id INTO strange FROM added GROUP BY journal_id
            HAVING sum(amount) <> 0 OR (SELECT true FROM public.ledger_journals j WHERE j.id = journal_id) IS NULL LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'what is added to journal % does not sum to zero, or there is no such journal', strange
                    USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER ledger_entries_balanced AFTER INSERT ON ledger_entries REFERENCING NEW TABLE AS added
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_strange_entries();

        CREATE TRIGGER ledger_accounts_append_only BEFORE UPDATE OR DELETE ON ledger_accounts
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
        CREATE TRIGGER ledger_journals_append_only BEFORE UPDATE OR DELETE ON ledger_journals
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
        CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

        ALTER TABLE ledger_accounts ENABLE ROW LEVEL SECURITY;
        -- An account is a merchant's and not a store's: a store's manager who counts cash posts to it as well.
        CREATE POLICY ledger_accounts_of_caller ON ledger_accounts TO mpac_caller
            USING (CASE current_setting('mpac.scope', true)
                WHEN 'system' THEN true
                WHEN 'psp' THEN psp_of(merchant_id) = current_setting('mpac.psp_id', true)
                WHEN 'merchant' THEN merchant_id = current_setting('mpac.merchant_id', true)
                WHEN 'store' THEN merchant_id = current_setting('mpac.merchant_id', true)
                ELSE false
            END);
        CREATE POLICY ledger_accounts_of_all ON ledger_accounts TO mpac_worker USING (true);
        ALTER TABLE ledger_journals ENABLE ROW LEVEL SECURITY;
        CREATE POLICY ledger_journals_of_caller ON ledger_journals TO mpac_caller USING (may_see(merchant_id, store_id));
        CREATE POLICY ledger_journals_of_all ON ledger_journals TO mpac_worker USING (true);
        ALTER TABLE ledger_entries ENABLE ROW LEVEL SECURITY;
        -- Above a store, by account: one look-up for all entries instead of one for each.
        CREATE POLICY ledger_entries_of_caller ON ledger_entries TO mpac_caller
            USING (CASE current_setting('mpac.scope', true)
                WHEN 'store' THEN EXISTS (SELECT FROM ledger_journals j WHERE j.id = journal_id)
                ELSE account_id IN (SELECT id FROM ledger_accounts)
            END);
        CREATE POLICY ledger_entries_of_all ON ledger_entries TO mpac_worker USING (true);

        GRANT SELECT, INSERT ON ledger_accounts, ledger_journals, ledger_entries TO mpac_caller, mpac_worker;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE ledger_entries, ledger_journals, ledger_accounts;
        DROP FUNCTION refuse_strange_entries(), refuse_unbalanced_journal(), ledger_account_id(text, text, text, text);
        """
    )
