"""Statements and reconciliation, measured."""
