"""Tools for development: seeding, tokens, a terminal client, statements with known breaks, and rendered documentation."""
