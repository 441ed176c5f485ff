"""Tools for development: seeding, tokens, a terminal client, planted statements, and rendered documentation."""
