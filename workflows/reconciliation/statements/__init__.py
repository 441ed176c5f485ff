"""Statements: fetch, parse and store the lines of money that a provider says it moved."""
