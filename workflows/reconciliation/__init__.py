"""Reconciliation: our lines beside the provider's, and every difference by its name."""
