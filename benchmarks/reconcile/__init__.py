"""Benchmarks of statements and reconciliation."""
