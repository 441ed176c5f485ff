"""Reconciliation: compare settlements with the providers' statements, and classify and resolve every difference."""
