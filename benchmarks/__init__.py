"""Benchmarks: payments per second and cost per payment of the product, beside those of a usual design."""
