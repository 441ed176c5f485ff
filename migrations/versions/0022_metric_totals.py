"""Totals of counters and histograms over all processes, for ``/metrics``; stores by currency, for its labels."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        -- labels: a JSON array. part: empty for a counter, a bucket's upper bound or "sum" for a histogram.
        CREATE TABLE metric_totals (
            name text NOT NULL,
            labels text NOT NULL,
            part text NOT NULL,
            value double precision NOT NULL CONSTRAINT metric_totals_only_grow CHECK (value >= 0),
            PRIMARY KEY (name, labels, part)
        ) WITH (fillfactor = 50);  -- a row is updated every few seconds and no index is touched

        -- The last addition of each process: one whose COMMIT was in doubt is not added twice.
        CREATE TABLE metric_additions (
            process text PRIMARY KEY,
            number bigint NOT NULL,
            at timestamptz NOT NULL
        );
        GRANT SELECT, INSERT, UPDATE ON metric_totals TO mpac_accept, mpac_worker;
        GRANT SELECT, INSERT, UPDATE, DELETE ON metric_additions TO mpac_accept, mpac_worker;
        GRANT SELECT (id, currency, status, end_at, open_breaks, uncompared, cash_expected, cash_actual) ON settlements TO mpac_accept;
        CREATE INDEX stores_by_currency ON stores (currency);
        """
    )


def downgrade() -> None:
    op.execute(
        """
        REVOKE SELECT (id, currency, status, end_at, open_breaks, uncompared, cash_expected, cash_actual)
            ON settlements FROM mpac_accept;
        DROP INDEX stores_by_currency;
        DROP TABLE metric_additions, metric_totals;
        """
    )
