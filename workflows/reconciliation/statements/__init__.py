"""Fetch, read and store providers' statements: the lines of money that a provider says it moved."""
