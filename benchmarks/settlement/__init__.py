"""Benchmarks of a day's end: a store with a million lines, ten thousand stores in one minute, the ledger's share."""
