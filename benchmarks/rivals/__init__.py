"""Comparison implementations: the same work in other designs, one folder each."""
