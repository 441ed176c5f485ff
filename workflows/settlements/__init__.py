"""Settlements: a store's business days, which are closed, frozen and later reconciled."""
