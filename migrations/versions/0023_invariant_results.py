"""Results of the scheduled check of the invariants, rule by rule, for ``/metrics`` and ``GET /ops/invariants``."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE invariant_results (
            rule text PRIMARY KEY,
            invariant text NOT NULL,
            sentence text NOT NULL,
            tried_at timestamptz NOT NULL,
            is_finished boolean NOT NULL,
            finished_at timestamptz,
            seconds double precision,
            checked bigint,
            violations bigint,
            examples jsonb NOT NULL DEFAULT '[]'
        );
        CREATE TABLE invariant_runs (
            name text PRIMARY KEY,
            began_at timestamptz NOT NULL
        );
        GRANT SELECT, INSERT, UPDATE, DELETE ON invariant_results TO mpac_sweep;
        GRANT SELECT, INSERT, UPDATE ON invariant_runs TO mpac_sweep;
        GRANT SELECT ON invariant_results TO mpac_accept;
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE invariant_runs, invariant_results")
