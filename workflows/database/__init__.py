"""The database: engines and roles, group commit, bulk settings, JSON rendering of rows, counts for metrics."""
