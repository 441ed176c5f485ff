"""Statements: what a provider says it moved, line by line, from its API or a file."""
