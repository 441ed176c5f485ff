"""Measure every list, in every scope and with every filter, on a database with millions of payments."""
