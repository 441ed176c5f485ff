"""The database: engines and roles, group commit, health of connections, shared columns, JSON rendering, metric counts."""
